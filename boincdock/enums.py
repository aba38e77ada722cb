"""Numbers that appear in the database, on the wire and in archives; fixed for ever (spec 05 A4, 03 §1)."""
from __future__ import annotations

from enum import IntEnum, IntFlag

NEVER = 2147483647
"""``workunit.transition_time`` of a workunit for which nothing is left to do (spec 05 A1)."""


class ServerState(IntEnum):
    """result.server_state."""

    INACTIVE = 1
    UNSENT = 2
    IN_PROGRESS = 4
    OVER = 5


class Outcome(IntEnum):
    """result.outcome; meaningless until server_state is OVER."""

    INIT = 0
    SUCCESS = 1
    COULDNT_SEND = 2
    CLIENT_ERROR = 3
    NO_REPLY = 4
    DIDNT_NEED = 5
    VALIDATE_ERROR = 6
    CLIENT_DETACHED = 7


class ClientState(IntEnum):
    """result.client_state as the client reported it."""

    NEW = 0
    FILES_DOWNLOADING = 1
    FILES_DOWNLOADED = 2
    COMPUTE_ERROR = 3
    FILES_UPLOADING = 4
    FILES_UPLOADED = 5
    ABORTED = 6
    UPLOAD_FAILED = 7


class ValidateState(IntEnum):
    """result.validate_state."""

    INIT = 0
    VALID = 1
    INVALID = 2
    NO_CHECK = 3
    INCONCLUSIVE = 4
    TOO_LATE = 5


class FileDeleteState(IntEnum):
    """workunit.file_delete_state and result.file_delete_state."""

    INIT = 0
    READY = 1
    DONE = 2
    ERROR = 3


class AssimilateState(IntEnum):
    """workunit.assimilate_state."""

    INIT = 0
    READY = 1
    DONE = 2


class WuError(IntFlag):
    """Bits of workunit.error_mask."""

    COULDNT_SEND_RESULT = 1
    TOO_MANY_ERROR_RESULTS = 2
    TOO_MANY_SUCCESS_RESULTS = 4
    TOO_MANY_TOTAL_RESULTS = 8
    CANCELLED = 16
    NO_CANONICAL_RESULT = 32


class TransitionerFlags(IntEnum):
    """workunit.transitioner_flags."""

    NORMAL = 0
    NONE = 1
    NO_NEW_RESULTS = 2


class BatchState(IntEnum):
    """batch.state."""

    INIT = 0
    IN_PROGRESS = 1
    COMPLETE = 2
    ABORTED = 3
    RETIRED = 4


class TargetType(IntEnum):
    """assignment.target_type."""

    ALL = 0
    HOST = 1
    USER = 2
    TEAM = 3


class AnonymousVersion(IntEnum):
    """result.app_version_id of anonymous-platform work."""

    UNKNOWN = -1
    CPU = -2
    NVIDIA = -3
    AMD = -4
    INTEL_GPU = -5
    APPLE_GPU = -6


class CreditType(IntEnum):
    """credit_user.credit_type, credit_team.credit_type."""

    FLOPS = 0
    STORAGE = 1
    NETWORK = 2
    PROJECT = 3
