"""Whatever a platform answers to `provision` and `deprovision`: a result, or an error with a reason and nothing secret."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from blocks.errors import PlatformError, PlatformRefusedError
from blocks.models.base import clean_text
from blocks.models.platform import Provisioned
from blocks.sources.exchange import Answer
from blocks.sources.platform_answers import Call, says_gone
from doubles.askers import source_of
from doubles.hostile import encode, scalars, statuses

SECRET = "tok-12345678"
WORDS = ["count", "node_ids", "error", "error_msg", "error_cause", "defined_node_groups", "node_group_id"]
fields = st.dictionaries(
    st.sampled_from(WORDS),
    scalars | st.lists(scalars, max_size=4) | st.integers(0, 4) | st.just(f"who is {SECRET}?"),
    max_size=5,
)
bodies = st.binary(max_size=60) | scalars.map(encode) | fields.map(encode)
answers = st.builds(Answer, statuses, bodies, st.just((SECRET,)))
CALL = Call(source_of("platform", "http://platform.test"), "make 1 node(s)")


@given(answers)
@example(Answer(200, b'{"count": 2, "node_ids": ["a", "b"]}', ()))
def test_a_success_is_nodes_or_an_error(answer: Answer) -> None:
    """The ids are as many as the count says, or none; an error says that nodes may be made all the same."""
    made: Provisioned | PlatformError
    try:
        made = CALL.provisioned(answer)
    except PlatformError as error:
        made = error

    if isinstance(made, PlatformError):
        assert (True, False) == (made.maybe_done, SECRET in str(made))
    else:
        assert made.node_ids is None or len(set(made.node_ids)) == made.count


@given(answers)
def test_a_refusal_has_a_reason(answer: Answer) -> None:
    """It is permanent or not, in one line, without our secrets; what is permanent was not done."""
    error = CALL.refused(answer)

    text = str(error)
    assert f"HTTP {answer.status}: " in text
    assert clean_text(text) == text
    assert SECRET not in text
    assert not (isinstance(error, PlatformRefusedError) and error.maybe_done)


@given(answers)
def test_gone_is_said_with_a_404_or_a_500(answer: Answer) -> None:
    """No other status means that a node is gone."""
    assert not says_gone(answer) or answer.status in {404, 500}
