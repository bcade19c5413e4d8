from fastapi.testclient import TestClient


def test_a_submitted_generation_is_queued_and_can_be_polled(as_user: TestClient) -> None:
    submitted = as_user.post("/v1/generations", json={"model": "starter", "prompt": "Create a page."})
    assert submitted.status_code == 202, submitted.text
    polled = as_user.get(submitted.headers["Location"])
    assert polled.status_code == 200
    assert polled.json() == submitted.json()
    assert polled.json()["status"] == "queued"
