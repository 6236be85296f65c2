"""What is left of a run, for people and for machines: ``model`` is report.json, ``text`` the terminal, ``junit`` the properties in XML.

All three show one ``model.Report``; nothing is computed here that is not in it.
"""
