"""An archive behind FastAPI: checkpoints of a job by step range, as JSON lines that are never held whole.

``pip install 'tuneledger[async]' fastapi uvicorn``, then
``TUNELEDGER_DATABASE_URL=history.db uvicorn serve_checkpoints:app``.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

from tuneledger import CheckpointOut, CheckpointRepository
from tuneledger.aio import AsyncArchive
from tuneledger.errors import JobNotFound


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one archive open while the application runs."""
    async with AsyncArchive(os.environ["TUNELEDGER_DATABASE_URL"], read_only=True) as archive:
        app.state.archive = archive
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/jobs/{job_id}/checkpoints")
async def checkpoints(
    request: Request, job_id: str, first_step: int | None = None, last_step: int | None = None
) -> list[CheckpointOut]:
    """Give the checkpoints between two steps, both inclusive."""
    archive: AsyncArchive = request.app.state.archive
    try:
        async with archive.read() as repository:
            return await repository.run(
                CheckpointRepository.checkpoints, job_id, first_step=first_step, last_step=last_step
            )
    except JobNotFound as error:
        raise HTTPException(404, str(error)) from error


@app.get("/jobs/{job_id}/checkpoints.jsonl")
async def stream(request: Request, job_id: str) -> StreamingResponse:
    """Give all checkpoints of a job, a line each, in constant memory."""
    archive: AsyncArchive = request.app.state.archive

    async def lines() -> AsyncIterator[str]:
        async with archive.read() as repository:
            async for found in repository.stream(CheckpointRepository.stream_checkpoints, job_id):
                yield found.model_dump_json(exclude_unset=True) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")
