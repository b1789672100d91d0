"""A dashboard of an archive in the browser, over a read-only connection.

NiceGUI carries it (extra ``dashboard``); why that and no other stands in docs/dashboards.md. `views` asks the
archive, `curves` describes the chart, `page` puts both on the screen. Nothing else imports this package.
"""

from tuneledger.dashboard.serving import serve

__all__ = ["serve"]
