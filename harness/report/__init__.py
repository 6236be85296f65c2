"""What is left of a run, for people and for machines: ``model`` is report.json, ``text`` the terminal, ``junit`` the properties in XML.

``session`` is what all runs of a session came to, which ``markdown`` (the summary of a CI job) and ``github`` (annotations) show.
Everything shows ``model.Report``; nothing is computed here that is not in it.
"""
