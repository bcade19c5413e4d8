from pagewright.cli.main import app

app()
