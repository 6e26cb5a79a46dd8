"""The tests; helper modules are imported from here: `from tests.helpers.aioresponses_compat import mock_responses`."""
