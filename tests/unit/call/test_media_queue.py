from __future__ import annotations

from harness.call.media_queue import MediaQueue, Waiting


def entry(token: int, flow: str = "audio", expires: int = 100) -> Waiting:
    return Waiting(token, flow, b"", expires, "datagram")


def order(queue: MediaQueue) -> list[int]:
    found = []
    while (head := queue.head()) is not None:
        queue.remove(head)
        found.append(head.token)
    return found


def test_audio_and_rtcp_before_video_before_screen_before_data() -> None:
    queue = MediaQueue(10)
    for token, flow in enumerate(("data", "screen", "video", "rtcp", "audio", "video", "rtcp", "data"), 1):
        queue.put(entry(token, flow))
    assert len(queue) == 8
    assert order(queue) == [4, 5, 7, 3, 6, 2, 1, 8]
    assert len(queue) == 0


def test_what_is_too_old_leaves() -> None:
    queue = MediaQueue(10)
    for token, expires in ((1, 50), (2, 40), (3, 60)):
        queue.put(entry(token, expires=expires))
    assert queue.next_expiry() == 40
    assert [old.token for old in queue.expire(39)] == []
    assert [old.token for old in queue.expire(50)] == [1, 2]
    assert order(queue) == [3]
    assert queue.next_expiry() is None


def test_a_full_flow_pushes_out_its_own_oldest() -> None:
    queue = MediaQueue(2)
    assert queue.put(entry(1)) is None
    queue.put(entry(2, "rtcp"))
    assert queue.put(entry(3)) is None
    pushed = queue.put(entry(4))
    assert pushed is not None
    assert pushed.token == 1
    assert order(queue) == [2, 3, 4]


def test_the_newest_audio_and_everything() -> None:
    queue = MediaQueue(10)
    for token, flow in ((1, "audio"), (2, "audio"), (3, "rtcp"), (4, "video")):
        queue.put(entry(token, flow))
    newest = queue.newest_urgent()
    assert newest is not None
    assert newest.token == 2
    assert [left.token for left in queue.clear()] == [1, 2, 3, 4]
    assert queue.head() is None
    assert queue.newest_urgent() is None
