"""Healthy stacks that differ from the reference agent in something that they may differ in: none may be FAIL (``make variants``)."""
