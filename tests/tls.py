"""TLS in front of a Redis that has none: `python -m tests.tls PORT REDIS_PORT PEM_FILE`."""

import asyncio
import ipaddress
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis import Redis

from pagewright.cli.up.parts import free_port
from tests.processes import answers, eventually


def write_certificate(file: Path) -> None:
    """Write a private key, and a certificate for 127.0.0.1 that the key itself has signed, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Redis of the tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pkcs8, unencrypted = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, pkcs8, unencrypted)
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))


def command(port: int, redis_port: int, certificate: Path) -> list[str]:
    """Return the command that serves the Redis at `redis_port` over TLS at `port`, both of 127.0.0.1."""
    return [sys.executable, "-m", "tests.tls", str(port), str(redis_port), str(certificate)]


@contextmanager
def served(redis_port: int, certificate: Path) -> Iterator[int]:
    """Serve the Redis over TLS; gives the port."""
    port = free_port()
    process = subprocess.Popen(command(port, redis_port, certificate))
    try:
        eventually(lambda: answers(Redis(port=port, ssl=True, ssl_cert_reqs="none")), "Redis over TLS")
        yield port
    finally:
        process.kill()
        process.wait()


async def serve(port: int, redis_port: int, certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            from_redis, to_redis = await asyncio.open_connection("127.0.0.1", redis_port)
            await asyncio.gather(_copy(reader, to_redis), _copy(from_redis, writer))
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
