"""Ready dashboards, as files. They read the views of docs/dashboards.md alone."""
