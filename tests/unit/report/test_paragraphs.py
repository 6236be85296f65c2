"""A docstring in its parts."""

from __future__ import annotations

from harness.report.paragraphs import paragraphs

TEXT = """Alice leaves.

Field story: the phone
walks out: of the door.
Bounds: at most 3 ms
"""


def test_the_story_and_each_label_have_their_text() -> None:
    assert paragraphs(TEXT) == {"": "Alice leaves.", "Field story": "The phone\nwalks out: of the door.", "Bounds": "At most 3 ms"}


def test_a_docstring_without_labels_is_all_story() -> None:
    assert paragraphs("Alice leaves.") == {"": "Alice leaves."}
    assert paragraphs("") == {"": ""}
