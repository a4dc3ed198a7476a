"""A vault of photos in forty lines: photos go in with what is said of them, and are found by either.

    python examples/python/photos.py FOLDER

Needs `blindsight-vault` and a keyholder: `blindsight up --data vault --detach`, or BLINDSIGHT_ADDRESS.
"""

import asyncio
import sys

from blindsight import connect, errors
from blindsight.client import AsyncVault, Photo


def keep(folder: str) -> None:
    """Stores the photos of a folder, finds, changes and deletes them."""
    with connect(wait_seconds=60) as vault:
        try:
            trips = vault.create_collection("trips", expected_size=100_000)
        except errors.AlreadyExists:
            trips = vault.collection("trips")
        report = trips.ingest(folder, metadata={"owner": "me"}, exif=True)  # repeating it is safe
        print(f"{report.stored} stored, {report.duplicates} were there")

        first = next(trips.items(order="id"))
        trips.update(first.id, set={"favourite": True})
        for hit in trips.search_like(first.id, k=3).results[0]:  # the server sees neither photo nor score
            print(f"{hit.score:.3f}  {hit.name}")

        photo = trips.get(first.id)
        trips.ingest(
            [Photo(photo.data, id="mine", metadata={"favourite": True}, name=photo.name)], upsert=True
        )
        found = trips.search(photo.data, k=1, where="favourite = true").results[0]
        print(f"the favourite is {found[0].name}; {trips.count('not has(taken)')} photos have no time")
        trips.delete("mine")


async def look(folder: str) -> None:
    """Looks for the two photos that are most alike, ten searches at once."""
    async with AsyncVault() as vault:
        trips = vault.collection("trips")
        queries = [item.id async for item in trips.items(page_size=10)][:10]
        answers = await asyncio.gather(*(trips.search_like(one, k=1) for one in queries))
        best = max((hits.results[0][0] for hits in answers if hits.results[0]), key=lambda hit: hit.score)
        print(f"most alike in {folder}: {best.name}, {best.score:.3f}")


keep(sys.argv[1])
asyncio.run(look(sys.argv[1]))
