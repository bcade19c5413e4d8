"""The report shows the results and neutralizes hostile predictions."""

import html
import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from api.untrusted import without_connecting
from pagewright.cli.experiment.charts import HEIGHT, WIDTH, loss_chart
from pagewright.cli.experiment.plan import ExperimentError, System
from pagewright.cli.experiment.report import POLICY, failures, write
from pagewright.cli.experiment.results import Aim, Point
from tests.pagewright.cli.experiment.samples import MODEL, fine_tuned, predicted, results

HOSTILE = (
    "\"'></iframe></pre></details></svg></title></style><script>document.title = 'taken'</script>"
    '<img src="http://elsewhere.example/" onerror="alert(1)"><meta http-equiv="refresh" content="0;url=//elsewhere">'
    "<iframe src=//elsewhere.example></iframe><link rel=preconnect href=//elsewhere.example>"
    "&lt;script&gt;{{ 7 * 7 }}"
)


class Elements(HTMLParser):
    """All elements of a page with their attributes, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def hostile(tmp_path: Path) -> list[Elements]:
    """Return the index and one system's page of a run in which every text is hostile."""
    row = predicted(HOSTILE, prompt=HOSTILE, input=HOSTILE, reference=HOSTILE, error=HOSTILE, finish_reason="error")
    fine_tune = fine_tuned(name=HOSTILE, base=HOSTILE, parameters={"lora": {HOSTILE: HOSTILE}})
    model = MODEL.model_copy(update={"name": HOSTILE, "revision": HOSTILE})
    aims = [Aim(text=HOSTILE, measured=HOSTILE, outcome="met")]
    sample = results(command=HOSTILE, model=model, fine_tunes=[fine_tune], aims=aims, notes=[HOSTILE])
    write(tmp_path, sample, {System.BASE_LORA: [row]})
    return [Elements(tmp_path / name) for name in ("index.html", "base-lora.html")]


def test_no_text_becomes_an_element_of_a_page(hostile: list[Elements]) -> None:
    for page in hostile:
        tags = {tag for tag, _ in page.elements}
        assert not tags & {"script", "img", "object", "embed", "link", "base", "form"}
        assert HOSTILE in page.text
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        assert "refresh" not in {attributes.get("http-equiv") for attributes in page.of("meta")}


def test_predictions_are_in_sandboxed_frames(hostile: list[Elements]) -> None:
    frames = hostile[1].of("iframe")
    assert len(frames) == 2
    for frame in frames:
        assert frame["sandbox"] in (None, "")
        assert frame["srcdoc"] == without_connecting(HOSTILE)
        assert "<link" not in str(frame["srcdoc"])
        assert "src" not in frame
        assert frame["loading"] == "lazy"


def test_every_page_starts_with_a_content_security_policy(hostile: list[Elements]) -> None:
    assert "default-src 'none'" in POLICY
    assert "script" not in POLICY
    assert "http" not in POLICY
    for page in hostile:
        tags = [tag for tag, _ in page.elements]
        policy = page.elements[tags.index("meta") + 1]
        assert policy == ("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY})


def test_failures_of_a_row_are_described() -> None:
    assert failures(predicted("<h1>Hi</h1>")) == []
    assert failures(predicted("", finish_reason="error", error="the prompt is too long")) == [
        "no completion: the prompt is too long"
    ]
    assert failures(predicted("<h1", finish_reason="length", validity=0, parse_errors=3)) == [
        "cut off at the token limit",
        "not valid HTML (3 parse errors)",
    ]


def test_the_page_in_a_completion_is_shown_and_the_whole_completion_below_it(tmp_path: Path) -> None:
    fenced = "Here it is: ```<b>bold</b>```"
    write(tmp_path, results(), {System.BASE: [predicted(fenced, page="<b>bold</b>"), predicted("<i>", row=1)]})
    page = Elements(tmp_path / "base.html")
    assert page.of("iframe")[0]["srcdoc"] == "<b>bold</b>"
    assert page.text.count("Whole completion") == 1
    assert fenced in page.text


def test_a_page_shows_the_prompt_the_source_and_the_scores_of_each_row(tmp_path: Path) -> None:
    rows = [predicted("<b>bold</b>", exact_match=1, input="a: 1"), predicted("", row=1, validity=None)]
    write(tmp_path, results(), {System.BASE: rows})
    page = (tmp_path / "base.html").read_text()
    assert html.escape("<b>bold</b>") in page
    assert "exact match</span>" in page
    assert "Create a page.\n\na: 1" in page
    assert "<td>12.3</td>" in page
    assert page.count("<iframe") == 3
    assert "Empty." in page


def test_the_index_links_to_the_pages_and_results_json_is_written(tmp_path: Path) -> None:
    sample = results()
    write(tmp_path, sample, {System.GPTQ_LORA: [predicted("x")], System.NEAREST_NEIGHBOUR: []})
    links = {link["href"] for link in Elements(tmp_path / "index.html").of("a")}
    assert links == {"gptq-base-lora.html", "nearest-neighbour.html"}
    assert all((tmp_path / str(link)).exists() for link in links)
    assert json.loads((tmp_path / "results.json").read_text()) == sample.model_dump(mode="json")


def test_the_index_draws_the_training_loss_and_a_measured_evaluation_loss(tmp_path: Path) -> None:
    curve = [Point(step=step, loss=1 / step, eval_loss=2 / step if step % 5 == 0 else None) for step in range(1, 11)]
    write(tmp_path, results(fine_tunes=[fine_tuned(), fine_tuned(curve=curve), fine_tuned(curve=[])]), {})
    index = (tmp_path / "index.html").read_text()
    drawings = [ET.fromstring("<svg" + part.split("</svg>")[0] + "</svg>") for part in index.split("<svg")[1:]]
    assert [len(drawing.findall("polyline")) for drawing in drawings] == [1, 2]
    assert [len(line.attrib["points"].split()) for line in drawings[1].findall("polyline")] == [10, 2]
    assert "No loss was measured." in index


def test_a_chart_stays_within_its_bounds_and_falls_with_the_loss() -> None:
    chart = loss_chart([Point(step=step, loss=8 / step, eval_loss=9 / step) for step in (1, 2, 100)])
    assert chart is not None
    points = [tuple(map(float, point.split(","))) for point in chart.training.split()]
    assert points == sorted(points)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert [tick.label for tick in chart.steps] == ["0", "25", "50", "75", "100"]
    assert [tick.label for tick in chart.losses] == ["0.00", "2.25", "4.50", "6.75", "9.00"]


def test_a_loss_of_zero_is_drawn() -> None:
    assert loss_chart([Point(step=1, loss=0.0, eval_loss=None)]) is not None


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "index.html").mkdir()
    with pytest.raises(ExperimentError, match=r"index\.html"):
        write(tmp_path, results(), {})
