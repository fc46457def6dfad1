"""What openai-clip imports of a module that setuptools no longer has."""

import packaging.version  # noqa: F401
