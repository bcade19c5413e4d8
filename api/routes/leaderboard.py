from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute
from api.errors import document_problems, invalid
from api.routes.evaluations import PageLimit
from api.schemas.common import Name
from api.schemas.evaluations import LeaderboardItemOut, LeaderboardOut
from db.queries import datasets, evaluations
from db.vocabulary import Split
from models.scoring.names import Baseline, Metric

router = APIRouter(
    prefix="/v1/leaderboard", tags=["evaluations"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


@router.get("")
def show(
    _: AnyCaller,
    database: DatabaseDep,
    dataset: Name,
    split: Split = Split.TEST,
    rows: Annotated[
        int | None,
        Query(ge=1, le=2**31 - 1, description="Evaluations of so many rows, as `limit` had it; default: of all."),
    ] = None,
    sort: Metric = Metric.EXACT_MATCH,
    limit: PageLimit = 100,
) -> LeaderboardOut:
    """Each model's latest evaluation over the same rows of a dataset, the best first, with the baselines among them."""
    with database.read() as session:
        found = datasets.get_by_name(session, dataset)
        if found is None:
            raise invalid("dataset", "there is no dataset of that name")
        rows = rows or found.rows_of(split)
        ranked = evaluations.leaderboard(session, found.id, split, rows, sort=sort, limit=limit)
        evaluated = evaluations.models_evaluated(session, found.id, split, rows, list(Baseline))
    return LeaderboardOut(
        dataset=found.name,
        split=split,
        rows=rows,
        sort=sort,
        items=[LeaderboardItemOut.of(row) for row in ranked],
        missing_baselines=[baseline for baseline in Baseline if baseline not in evaluated],
    )
