"""What is left of a run, for people and for machines: ``model`` is report.json, ``text`` the terminal, ``junit`` the properties in XML.

``situation`` is what goes on in a run at a moment, which ``live`` shows on a terminal.  ``session`` is what all runs of a session came to,
which ``markdown`` (the summary of a CI job) and ``github`` (annotations) show.
Everything shows ``model.Report``; nothing is computed here that is not in it.
"""
