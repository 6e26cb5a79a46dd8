"""Storage in memory: what a folder or an object store does, without either."""

from collections.abc import Iterator

from openai_images.cluster.storage import StoredObject


class MemoryStorage:
    """Names and their data; `place` is for people."""

    def __init__(self) -> None:
        """Nothing is stored."""
        self.place = "memory"
        self.data: dict[str, bytes] = {}

    def create(self, name: str, data: bytes) -> bool:
        """Exclusive, as one thread uses it."""
        if name in self.data:
            return self.data[name] == data
        self.data[name] = data
        return True

    def put(self, name: str, data: bytes) -> None:
        """Replace."""
        self.data[name] = data

    def read(self, name: str) -> bytes:
        """The data."""
        try:
            return self.data[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def exists(self, name: str) -> bool:
        """Whether it is there."""
        return name in self.data

    def list(self, folder: str) -> Iterator[StoredObject]:
        """The names below a folder."""
        for name, data in list(self.data.items()):
            if name.startswith(f"{folder}/"):
                yield StoredObject(name, len(data))

    def url(self, name: str) -> str:
        """A name for people."""
        return f"memory/{name}"
