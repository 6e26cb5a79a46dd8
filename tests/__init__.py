"""The tests; helper modules are imported from here: `from tests.mocking import mock_responses`."""
