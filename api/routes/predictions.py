"""The predictions of an evaluation, row by row."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute
from api.errors import document_problems
from api.prediction_exports import MEDIA_TYPES, ExportFormat, export
from api.references import Reference
from api.routes.evaluations import find_evaluation
from api.schemas.evaluations import parse_sort
from api.schemas.predictions import PredictionFilters, PredictionOut, PredictionsOut, PredictionsQuery
from db.queries import predictions

router = APIRouter(
    prefix="/v1/evaluations/{evaluation:reference}",
    tags=["evaluations"],
    route_class=GuardedRoute,
    responses=document_problems(401, 404, 422, 503),
)


@router.get("/predictions", summary="List the predictions of an evaluation")
def list_predictions(
    evaluation: Reference, _: AnyCaller, database: DatabaseDep, query: Annotated[PredictionsQuery, Query()]
) -> PredictionsOut:
    """List the rows predicted so far, in the order of their numbers or, with `sort`, of a score."""
    found = find_evaluation(database, evaluation).evaluation
    metric, descending = parse_sort(query.sort)
    with database.read() as session:
        rows, next_row = predictions.page(
            session,
            found.job_id,
            query.filter(),
            sort=metric,
            descending=descending,
            limit=query.limit,
            after=query.after,
        )
    return PredictionsOut(items=[PredictionOut.of(row, found.extract) for row in rows], next=next_row)


@router.get(
    "/predictions.{format}",
    summary="Export the predictions of an evaluation",
    response_class=StreamingResponse,
    responses={200: {"content": {media_type: {} for media_type in MEDIA_TYPES.values()}}},
)
def export_predictions(
    evaluation: Reference,
    format: ExportFormat,
    request: Request,
    _: AnyCaller,
    database: DatabaseDep,
    query: Annotated[PredictionFilters, Query()],
) -> Response:
    """Download the rows predicted so far that match the filters as one file, in the order of their numbers."""
    found = find_evaluation(database, evaluation).evaluation
    headers = {"Content-Disposition": f'attachment; filename="predictions-{found.job_id}.{format}"'}
    if request.scope.get("head"):
        return Response(headers=headers, media_type=MEDIA_TYPES[format])
    batches = predictions.export(database, found.job_id, query.filter())
    return StreamingResponse(export(format, batches, found.extract), headers=headers, media_type=MEDIA_TYPES[format])
