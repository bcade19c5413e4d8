"""The documentation page in a real browser: it works without internet, under its Content-Security-Policy."""

from pathlib import Path

from tests.attacks.browser import Page, new_page
from tests.attacks.conftest import Api
from tests.processes import eventually

RECORD_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
});
"""
OPERATIONS = "document.querySelectorAll('.opblock').length"
REQUESTS = "performance.getEntriesByType('resource').map(entry => entry.name)"
STATUS = "document.querySelector('.live-responses-table .response .response-col_status')?.textContent ?? ''"


def click(page: Page, selector: str) -> None:
    """Click the element as soon as it is there."""
    click = f"(element => element ? (element.click(), true) : false)(document.querySelector('{selector}'))"
    eventually(lambda: page.evaluate(click), f"the element {selector}")


def test_the_page_shows_every_operation_and_violates_no_policy(lasting_api: Api, tmp_path: Path) -> None:
    with lasting_api.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
        policy = client.get("/docs").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    with new_page(tmp_path, {}) as page:
        page.call("Page.addScriptToEvaluateOnNewDocument", source=RECORD_VIOLATIONS)
        page.open(f"{lasting_api.address}/docs")
        count = sum(map(len, paths.values()))
        eventually(lambda: page.evaluate(OPERATIONS) == count, f"{count} operations on the page")
        for selector in (".opblock-summary-control", ".try-out__btn", ".execute"):
            click(page, f"#operations-health-get_health {selector}")
        eventually(lambda: page.evaluate(STATUS).startswith("200"), "the response of an operation that was tried out")
        assert page.evaluate("window.violations") == []
        requests = page.evaluate(REQUESTS)
    assert f"{lasting_api.address}/openapi.json" in requests
    assert [url for url in requests if not url.startswith((f"{lasting_api.address}/", "data:"))] == []


def test_the_policy_blocks_inline_scripts(lasting_api: Api, tmp_path: Path) -> None:
    with new_page(tmp_path, {}) as page:
        page.call("Page.addScriptToEvaluateOnNewDocument", source=RECORD_VIOLATIONS)
        page.open(f"{lasting_api.address}/docs")
        page.evaluate(
            "const script = document.createElement('script'); script.textContent = 'window.ran = true';"
            "document.body.append(script)"
        )
        eventually(lambda: page.evaluate("window.violations.length") == 1, "a violation of the policy")
        assert page.evaluate("window.ran") is None
