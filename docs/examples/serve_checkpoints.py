"""An archive behind FastAPI: checkpoints of a job by step range, and whole jobs as JSON lines.

``pip install 'tuneledger[async]' fastapi uvicorn``, then
``TUNELEDGER_DATABASE_URL=history.db uvicorn serve_checkpoints:app``.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tuneledger import CheckpointOut, CheckpointRepository
from tuneledger.aio import AsyncArchive
from tuneledger.errors import InvalidArgument, NotFound, TuneledgerError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one archive open while the application runs."""
    place = os.environ["TUNELEDGER_DATABASE_URL"]
    async with AsyncArchive(place, read_only=True, wait_seconds=5, reply_seconds=20) as archive:
        app.state.archive = archive
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(TuneledgerError)
async def refused(_request: Request, error: TuneledgerError) -> JSONResponse:
    """Say what is wrong: messages are short and without secrets. What may work later asks to come again."""
    if error.retryable:
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "5"})
    status = 404 if isinstance(error, NotFound) else 422 if isinstance(error, InvalidArgument) else 500
    return JSONResponse({"detail": str(error)}, status)


@app.get("/jobs/{job_id}/checkpoints", response_model=list[CheckpointOut])
async def checkpoints(
    request: Request,
    job_id: str,
    first_step: int | None = None,
    last_step: int | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
) -> Response:
    """Give checkpoints between two steps, both inclusive; the next page begins after the last step given."""
    archive: AsyncArchive = request.app.state.archive

    def page(repository: CheckpointRepository) -> list[CheckpointOut]:
        found = repository.stream_checkpoints(job_id, first_step=first_step, last_step=last_step)
        return list(islice(found, limit))

    async with archive.read() as repository:
        found = await repository.run(page)
    # By the models themselves: FastAPI would write what is absent, and NaN, as null.
    body = ",".join(one.model_dump_json(exclude_unset=True) for one in found)
    return Response(f"[{body}]", media_type="application/json")


@app.get("/jobs/{job_id}/checkpoints.jsonl")
async def stream(request: Request, job_id: str) -> StreamingResponse:
    """Give all checkpoints of a job, a line each, as of one moment and in constant memory."""
    archive: AsyncArchive = request.app.state.archive

    async def lines() -> AsyncIterator[str]:
        async with archive.read() as repository:
            await repository.run(CheckpointRepository.job_without_checkpoints, job_id)
            yield ""  # so far an error still gets a status of its own
            async for found in repository.stream(CheckpointRepository.stream_checkpoints, job_id):
                yield found.model_dump_json(exclude_unset=True) + "\n"

    body = lines()
    await anext(body)
    return StreamingResponse(body, media_type="application/x-ndjson")
