"""The leaderboard: the latest evaluation of each model on the same rows."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute
from api.errors import document_problems
from api.references import find_dataset
from api.schemas.evaluations import LeaderboardItemOut, LeaderboardOut, LeaderboardQuery
from db.queries import evaluations
from models.scoring.names import Baseline

router = APIRouter(
    prefix="/v1/leaderboard", tags=["evaluations"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


@router.get("", summary="Get a leaderboard")
def get_leaderboard(_: AnyCaller, database: DatabaseDep, query: Annotated[LeaderboardQuery, Query()]) -> LeaderboardOut:
    """Rank the latest evaluation of each model on the same rows of a dataset, best first. Baselines are included."""
    with database.read() as session:
        dataset = find_dataset(session, query.dataset)
        rows = query.rows or dataset.rows_of(query.split)
        ranked = evaluations.leaderboard(session, dataset.id, query.split, rows, sort=query.sort, limit=query.limit)
        evaluated = evaluations.models_evaluated(session, dataset.id, query.split, rows, list(Baseline))
    return LeaderboardOut(
        dataset=dataset.name,
        split=query.split,
        rows=rows,
        sort=query.sort,
        items=[LeaderboardItemOut.of(row) for row in ranked],
        missing_baselines=[baseline for baseline in Baseline if baseline not in evaluated],
    )
