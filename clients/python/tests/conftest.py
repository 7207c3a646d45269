from __future__ import annotations

from collections.abc import Iterator

import pytest

import holdfast
from support import Tenant, World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Shared by the tests that break nothing."""
    with World() as made:
        yield made


@pytest.fixture(scope="session")
def breakable() -> Iterator[World]:
    with World() as made:
        yield made


@pytest.fixture
def fragile(breakable: World) -> World:
    """A world to break, whole at the beginning."""
    breakable.repair()
    return breakable


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()


@pytest.fixture
def client(world: World, tenant: Tenant) -> Iterator[holdfast.Client]:
    with world.client(tenant) as made:
        yield made


@pytest.fixture
def other(world: World, tenant: Tenant) -> Iterator[holdfast.Client]:
    """Another client of the same tenant, at the other replica."""
    with world.client(tenant, 1) as made:
        yield made
