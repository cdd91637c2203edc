"""Every error this project raises on purpose.

    AgentError
    ├── ConfigError          a setting or an input file is wrong (also a ValueError)
    ├── ModelError           the base model is missing or cannot be loaded
    ├── StoreError           the experience buffer cannot be used
    ├── AdapterError         an adapter is missing, damaged, or made for another base model
    └── ConsolidationError   a consolidation had to stop; the live generation stays

Callers that only want to show a message catch `AgentError`; each message says what was found,
why it matters and what to do. Anything else that reaches the user is a bug and comes with its
traceback.
"""


class AgentError(Exception):
    """The base of every error raised on purpose."""


class ConfigError(AgentError, ValueError):
    """A setting, a name or an input file is wrong."""


class ModelError(AgentError):
    """The base model is missing or cannot be loaded."""


class StoreError(AgentError):
    """The experience buffer cannot be opened, read or written."""


class AdapterError(AgentError):
    """An adapter is missing, damaged, or was made for another base model."""


class ConsolidationError(AgentError):
    """A consolidation had to stop: it was cancelled, or its loss is not a number."""
