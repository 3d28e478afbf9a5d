"""Who is asking: a logged-in person with the roles granted, as services and doors see her."""

from dataclasses import dataclass, replace

from app.people.models import Role

# These roles look at the whole platform; what they may change is each service's own rule.
CENTER_ROLES = frozenset({Role.CLERK, Role.APPROVER, Role.FINANCE, Role.AUDITOR, Role.ADMIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One role and where it holds; without a scope it holds everywhere."""

    role: Role
    sub_center_id: int | None = None
    group_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A logged-in person."""

    person_id: int
    username: str
    name: str
    organisation_id: int | None
    grants: tuple[Grant, ...]

    def has(self, *roles: Role) -> bool:
        """Say whether any of these roles was granted, wherever it holds."""
        return any(grant.role in roles for grant in self.grants)

    def acting_as(self, *roles: Role) -> "Principal":
        """Give the same person with these grants alone.

        Whoever decides must be let near it by the role that decides, not by another that only looks.
        """
        return replace(self, grants=tuple(grant for grant in self.grants if grant.role in roles))

    @property
    def sub_center_ids(self) -> frozenset[int]:
        """The sub-centers this person manages."""
        return frozenset(grant.sub_center_id for grant in self.grants if grant.sub_center_id is not None)

    @property
    def group_ids(self) -> frozenset[int]:
        """The groups this person operates."""
        return frozenset(grant.group_id for grant in self.grants if grant.group_id is not None)

    @property
    def sees_everything(self) -> bool:
        """Say whether this person's work is at the service center, and no sub-center's wall stands before her."""
        return any(grant.role in CENTER_ROLES for grant in self.grants)
