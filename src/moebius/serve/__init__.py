"""The server: `moebius serve`.

    cli/serve.py -> run.py      uvicorn around the app, signals, draining, logs
      protocol.py                 slow, broken and too many clients
    app.py                      the app: middleware, routers, error handlers
      routes_fill.py              POST /v1/inpaint
      routes_jobs.py              /v1/jobs: start, events, result, cancel
      routes_status.py            /v1/info, /healthz, /readyz, /metrics
      dialect_openai.py, dialect_iopaint.py, dialects.py    what clients of others speak
      page_files.py               the web page
      documents.py                bodies and answers, as OpenAPI describes them
    middleware.py, metrics.py   ids, logs, tokens, headers; numbers for Prometheus
    uploads.py, request.py      bodies into memory; fields into a `FillRequest`
    leaving.py                  a client that leaves cancels its job
    service.py, jobs.py, pace.py    the queue, the jobs, their events and deadlines
    link.py -> worker.py        a worker process: the only place where pictures are decoded
      fill.py                     the work on one request
    limits.py, memory.py, errors.py    how much, how many bytes, and what is said then

The listening process holds bytes and never decodes a picture. Nothing is written to a disk, and nothing is fetched from
an address. Routes share no state but the service; a fill depends on its own request alone.
"""

from moebius.serve.limits import Limits
from moebius.serve.request import FillAnswer, FillRequest
from moebius.serve.worker import WorkerOptions

__all__ = ["FillAnswer", "FillRequest", "Limits", "WorkerOptions"]
