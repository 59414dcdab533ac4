"""Names: what may be called what, and how the name of a launched thing follows from its task id."""

from __future__ import annotations

TASK_ID_MAX = 53  # a DNS-1123 label has 63 characters; this leaves room for our prefix and a short suffix
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_CONTROL = r"\x00-\x1f\x7f-\x9f"  # PostgreSQL keeps no NUL, and the others take hold of terminals
TITLE = rf"^[^{_CONTROL}]+$"
MODEL_NAME = rf"^[^/:.%\"'{_CONTROL}][^/:%\"'{_CONTROL}]*$"  # MLflow refuses / and : in a registered model's name
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"  # a token, as RFC 9110 has it

PATTERNS = {  # what a pattern asks for, in words
    TITLE: "leave out control characters, such as line ends",
    DNS_LABEL: "use lower-case letters, digits and hyphens, with a letter or digit at both ends",
    MODEL_NAME: "leave out / : % quotes and control characters, and do not begin with a dot",
    HEADER_NAME: "use the name of a header, such as X-Session",
}


def job_name(task_id: str) -> str:
    return f"train-{task_id}"


def server_name(task_id: str) -> str:
    return f"serve-{task_id}"
