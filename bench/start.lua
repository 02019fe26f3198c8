-- A start without a body: POST /flows/{id}/start.
wrk.method = "POST"
