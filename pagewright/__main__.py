from pagewright.cli.app import app

app()
