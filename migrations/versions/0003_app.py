"""The tables of app, and the triggers that keep what must not change."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _tables()
    _answers_to_verdicts()
    _boxes_and_jobs()
    _card_making()
    _offline()
    _triggers()


def _tables() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
        schema="app",
    )
    op.create_index(op.f("ix_audit_entry_subject"), "audit_entry", ["subject"], unique=False, schema="app")
    op.create_table(
        "feed_cursor",
        sa.Column("feed", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed", name=op.f("pk_feed_cursor")),
        schema="app",
    )
    op.create_table(
        "fund",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("name_en", sa.String(), nullable=False),
        sa.Column("budget_fen_per_year", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fund")),
        sa.UniqueConstraint("code", name=op.f("uq_fund_code")),
        schema="app",
    )
    op.create_table(
        "master_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_master_key")),
        schema="app",
    )
    op.create_index(op.f("ix_master_key_slot_version"), "master_key", ["slot", "version"], unique=True, schema="app")
    op.create_table(
        "organisation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("name_en", sa.String(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "company",
                "academic",
                "government",
                name="organisationkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("region", sa.String(), server_default="重庆", nullable=False),
        sa.Column("legal_person", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("network_member", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisation")),
        schema="app",
    )
    op.create_table(
        "psp_event",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("api_version", sa.String(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "received",
                "done",
                "ignored",
                "failed",
                name="eventstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_psp_event")),
        schema="app",
    )
    op.create_index(
        "ix_psp_event_open",
        "psp_event",
        ["received_at"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("status IN ('received', 'failed')"),
    )
    op.create_table(
        "psp_poll",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("polled_until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_psp_poll_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_psp_poll")),
        schema="app",
    )
    op.create_table(
        "request_count",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("since", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_request_count")),
        schema="app",
    )
    op.create_index(op.f("ix_request_count_since"), "request_count", ["since"], unique=False, schema="app")
    op.create_table(
        "server_key",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_private_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_server_key")),
        schema="app",
    )
    op.create_table(
        "sub_center",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("name_en", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sub_center")),
        sa.UniqueConstraint("code", name=op.f("uq_sub_center_code")),
        schema="app",
    )
    op.create_table(
        "person",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("username", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("organisation_id", sa.BigInteger(), nullable=True),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("failed_log_ins", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("locked_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["app.organisation.id"], name=op.f("fk_person_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("username", name=op.f("uq_person_username")),
        schema="app",
    )
    op.create_table(
        "rule_set",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("valid_to", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column("fund_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name=op.f("ck_rule_set_order")),
        sa.ForeignKeyConstraint(["fund_id"], ["app.fund.id"], name=op.f("fk_rule_set_fund_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rule_set")),
        schema="app",
    )
    op.create_index(op.f("ix_rule_set_code_version"), "rule_set", ["code", "version"], unique=True, schema="app")
    op.create_table(
        "unit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("name_en", sa.String(), nullable=False),
        sa.Column("sub_center_id", sa.BigInteger(), nullable=True),
        sa.Column("organisation_id", sa.BigInteger(), nullable=False),
        sa.Column("service_fee_basis_points", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("vat_basis_points", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("service_fee_basis_points BETWEEN 0 AND 10000", name=op.f("ck_unit_service_fee_range")),
        sa.CheckConstraint("vat_basis_points BETWEEN 0 AND 10000", name=op.f("ck_unit_vat_range")),
        sa.ForeignKeyConstraint(["organisation_id"], ["app.organisation.id"], name=op.f("fk_unit_organisation_id")),
        sa.ForeignKeyConstraint(["sub_center_id"], ["app.sub_center.id"], name=op.f("fk_unit_sub_center_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unit")),
        sa.UniqueConstraint("code", name=op.f("uq_unit_code")),
        sa.UniqueConstraint("organisation_id", name=op.f("uq_unit_organisation_id")),
        schema="app",
    )
    op.create_index(op.f("ix_unit_sub_center_id"), "unit", ["sub_center_id"], unique=False, schema="app")
    op.create_table(
        "card_account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=True),
        sa.Column("organisation_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "active", "frozen", "closed", name="accountstatus", native_enum=False, create_constraint=True, length=32
            ),
            nullable=False,
        ),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("num_nonnulls(person_id, organisation_id) = 1", name=op.f("ck_card_account_one_customer")),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["app.organisation.id"], name=op.f("fk_card_account_organisation_id")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["app.person.id"], name=op.f("fk_card_account_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card_account")),
        sa.UniqueConstraint("number", name=op.f("uq_card_account_number")),
        schema="app",
    )
    op.create_index(
        op.f("ix_card_account_organisation_id"), "card_account", ["organisation_id"], unique=False, schema="app"
    )
    op.create_index(op.f("ix_card_account_person_id"), "card_account", ["person_id"], unique=False, schema="app")
    op.create_table(
        "instrument_group",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("unit_id", sa.BigInteger(), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("name_en", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["unit_id"], ["app.unit.id"], name=op.f("fk_instrument_group_unit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instrument_group")),
        schema="app",
    )
    op.create_index(op.f("ix_instrument_group_unit_id"), "instrument_group", ["unit_id"], unique=False, schema="app")
    op.create_table(
        "log_in",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["app.person.id"], name=op.f("fk_log_in_person_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_log_in")),
        schema="app",
    )
    op.create_index(op.f("ix_log_in_person_id"), "log_in", ["person_id"], unique=False, schema="app")
    op.create_table(
        "related_party",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organisation_id", sa.BigInteger(), nullable=False),
        sa.Column("other_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("recorded_by_id", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("organisation_id < other_id", name=op.f("ck_related_party_written_once")),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["app.organisation.id"], name=op.f("fk_related_party_organisation_id")
        ),
        sa.ForeignKeyConstraint(["other_id"], ["app.organisation.id"], name=op.f("fk_related_party_other_id")),
        sa.ForeignKeyConstraint(["recorded_by_id"], ["app.person.id"], name=op.f("fk_related_party_recorded_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_related_party")),
        schema="app",
    )
    op.create_index(
        op.f("ix_related_party_organisation_id_other_id"),
        "related_party",
        ["organisation_id", "other_id"],
        unique=True,
        schema="app",
    )
    op.create_table(
        "instrument",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("name_en", sa.String(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("instrument_class", sa.String(), nullable=False),
        sa.Column("place", sa.String(), server_default="", nullable=False),
        sa.Column("value_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("special", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("typical_session_min", sa.BigInteger(), server_default=sa.text("60"), nullable=False),
        sa.Column("warm_up_min", sa.BigInteger(), server_default=sa.text("15"), nullable=False),
        sa.Column("after_treatment_min", sa.BigInteger(), server_default=sa.text("15"), nullable=False),
        sa.CheckConstraint("after_treatment_min BETWEEN 0 AND 1440", name=op.f("ck_instrument_after_treatment_range")),
        sa.CheckConstraint("warm_up_min BETWEEN 0 AND 1440", name=op.f("ck_instrument_warm_up_range")),
        sa.ForeignKeyConstraint(["group_id"], ["app.instrument_group.id"], name=op.f("fk_instrument_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instrument")),
        sa.UniqueConstraint("code", name=op.f("uq_instrument_code")),
        schema="app",
    )
    op.create_index(op.f("ix_instrument_group_id"), "instrument", ["group_id"], unique=False, schema="app")
    op.create_table(
        "project",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column(
            "level",
            sa.Enum(
                "none",
                "enterprise",
                "municipal",
                "national",
                name="projectlevel",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("evidence_reference", sa.String(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["app.card_account.id"], name=op.f("fk_project_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        schema="app",
    )
    op.create_index(op.f("ix_project_account_id"), "project", ["account_id"], unique=False, schema="app")
    op.create_table(
        "role_grant",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "cardholder",
                "group_operator",
                "sub_center_manager",
                "clerk",
                "approver",
                "finance",
                "auditor",
                "admin",
                name="role",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("sub_center_id", sa.BigInteger(), nullable=True),
        sa.Column("group_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(role = 'group_operator') = (group_id IS NOT NULL)", name=op.f("ck_role_grant_group_scope")
        ),
        sa.CheckConstraint(
            "(role = 'sub_center_manager') = (sub_center_id IS NOT NULL)", name=op.f("ck_role_grant_sub_center_scope")
        ),
        sa.ForeignKeyConstraint(["group_id"], ["app.instrument_group.id"], name=op.f("fk_role_grant_group_id")),
        sa.ForeignKeyConstraint(["person_id"], ["app.person.id"], name=op.f("fk_role_grant_person_id")),
        sa.ForeignKeyConstraint(["sub_center_id"], ["app.sub_center.id"], name=op.f("fk_role_grant_sub_center_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_grant")),
        schema="app",
    )
    op.create_index(
        op.f("ix_role_grant_person_id_role_sub_center_id_group_id"),
        "role_grant",
        ["person_id", "role", "sub_center_id", "group_id"],
        unique=True,
        schema="app",
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "top_up",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column(
            "method",
            sa.Enum(
                "cash",
                "bank_transfer",
                "online",
                name="topupmethod",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "awaiting_approval",
                "awaiting_payment",
                "credited",
                "rejected",
                "expired",
                "failed",
                name="topupstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("maker_id", sa.BigInteger(), nullable=False),
        sa.Column("checker_id", sa.BigInteger(), nullable=True),
        sa.Column("bank_reference", sa.String(), nullable=True),
        sa.Column("attempt", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("checkout_id", sa.String(), nullable=True),
        sa.Column("checkout_url", sa.String(), nullable=True),
        sa.Column("payment_intent", sa.String(), nullable=True),
        sa.Column("checkout_expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("decided_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(method = 'bank_transfer') = (bank_reference IS NOT NULL)", name=op.f("ck_top_up_bank_reference_given")
        ),
        sa.CheckConstraint(
            "(method = 'online') = (checkout_expires_at IS NOT NULL)", name=op.f("ck_top_up_online_expires")
        ),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_top_up_amount_positive")),
        sa.CheckConstraint("checker_id IS NULL OR checker_id <> maker_id", name=op.f("ck_top_up_two_people")),
        sa.ForeignKeyConstraint(["account_id"], ["app.card_account.id"], name=op.f("fk_top_up_account_id")),
        sa.ForeignKeyConstraint(["checker_id"], ["app.person.id"], name=op.f("fk_top_up_checker_id")),
        sa.ForeignKeyConstraint(["maker_id"], ["app.person.id"], name=op.f("fk_top_up_maker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_top_up")),
        sa.UniqueConstraint("checkout_id", name=op.f("uq_top_up_checkout_id")),
        sa.UniqueConstraint("number", name=op.f("uq_top_up_number")),
        sa.UniqueConstraint("payment_intent", name=op.f("uq_top_up_payment_intent")),
        schema="app",
    )
    op.create_index(op.f("ix_top_up_account_id"), "top_up", ["account_id"], unique=False, schema="app")
    op.create_index(
        "uq_top_up_bank_reference",
        "top_up",
        ["bank_reference"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("bank_reference IS NOT NULL AND status <> 'rejected'"),
    )
    op.create_table(
        "box_placement",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("box", sa.String(), nullable=False),
        sa.Column("channel", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("valid_to", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name=op.f("ck_box_placement_order")),
        sa.ForeignKeyConstraint(["instrument_id"], ["app.instrument.id"], name=op.f("fk_box_placement_instrument_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_box_placement")),
        schema="app",
    )
    op.create_index(
        op.f("ix_box_placement_instrument_id"), "box_placement", ["instrument_id"], unique=False, schema="app"
    )
    op.create_index(
        "uq_box_placement_current",
        "box_placement",
        ["box", "channel"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_table(
        "box_verdict",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("collector_session_id", sa.BigInteger(), nullable=False),
        sa.Column("collector_version", sa.BigInteger(), nullable=False),
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "verdict",
            sa.Enum(
                "covered",
                "unpaid",
                "unpaid_head",
                "unpaid_tail",
                "maintenance",
                "background",
                "below_minimum",
                "box_suspect",
                "provisional",
                name="boxverdictkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("overlap_s", sa.BigInteger(), nullable=False),
        sa.Column("box_only_s", sa.BigInteger(), nullable=False),
        sa.Column("head_s", sa.BigInteger(), nullable=False),
        sa.Column("tail_s", sa.BigInteger(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("algorithm_version", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("superseded_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["instrument_id"], ["app.instrument.id"], name=op.f("fk_box_verdict_instrument_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_box_verdict")),
        schema="app",
    )
    op.create_index(
        "ix_box_verdict_instrument_id_started_at",
        "box_verdict",
        ["instrument_id", "started_at"],
        unique=False,
        schema="app",
    )
    op.create_index(
        "ix_box_verdict_unpaid",
        "box_verdict",
        ["instrument_id", "started_at"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("superseded_at IS NULL AND verdict IN ('unpaid', 'unpaid_head', 'unpaid_tail')"),
    )
    op.create_index(
        "uq_box_verdict_current",
        "box_verdict",
        ["collector_session_id", "instrument_id"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_table(
        "card",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("holder_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=True),
        sa.Column("face_number", sa.String(), nullable=False),
        sa.Column(
            "card_class",
            sa.Enum(
                "typed", "uid", "sun", "ev2", name="cardclass", native_enum=False, create_constraint=True, length=32
            ),
            nullable=False,
        ),
        sa.Column("uid", sa.LargeBinary(), nullable=True),
        sa.Column("key_version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("read_counter", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "preparing",
                "issued",
                "lost",
                "blocked",
                "replaced",
                name="cardstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("pin_hash", sa.String(), nullable=False),
        sa.Column("pin_failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("issued_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("status_reason", sa.String(), server_default="", nullable=False),
        sa.Column("status_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("replaces_id", sa.BigInteger(), nullable=True),
        sa.Column("printed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("card_class <> 'typed' OR uid IS NULL", name=op.f("ck_card_typed_has_no_uid")),
        sa.CheckConstraint(
            "card_class = 'typed' OR uid IS NOT NULL OR status IN ('preparing', 'replaced')",
            name=op.f("ck_card_chip_has_uid"),
        ),
        sa.ForeignKeyConstraint(["replaces_id"], ["app.card.id"], name=op.f("fk_card_replaces_id")),
        sa.UniqueConstraint("replaces_id", name=op.f("uq_card_replaces_id")),
        sa.CheckConstraint("pin_failures BETWEEN 0 AND 5", name=op.f("ck_card_pin_failures_range")),
        sa.ForeignKeyConstraint(["account_id"], ["app.card_account.id"], name=op.f("fk_card_account_id")),
        sa.ForeignKeyConstraint(["holder_id"], ["app.person.id"], name=op.f("fk_card_holder_id")),
        sa.ForeignKeyConstraint(["project_id"], ["app.project.id"], name=op.f("fk_card_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card")),
        sa.UniqueConstraint("face_number", name=op.f("uq_card_face_number")),
        sa.UniqueConstraint("uid", name=op.f("uq_card_uid")),
        schema="app",
    )
    op.create_index(op.f("ix_card_account_id"), "card", ["account_id"], unique=False, schema="app")
    op.create_index(op.f("ix_card_holder_id"), "card", ["holder_id"], unique=False, schema="app")
    op.create_table(
        "collaborative_listing",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("valid_to", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name=op.f("ck_collaborative_listing_order")),
        sa.ForeignKeyConstraint(
            ["instrument_id"], ["app.instrument.id"], name=op.f("fk_collaborative_listing_instrument_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collaborative_listing")),
        schema="app",
    )
    op.create_index(
        op.f("ix_collaborative_listing_instrument_id"),
        "collaborative_listing",
        ["instrument_id"],
        unique=False,
        schema="app",
    )
    op.create_table(
        "psp_payment",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("top_up_id", sa.Uuid(), nullable=True),
        sa.Column("top_up_number", sa.String(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "credited",
                "unidentified",
                "not_booked",
                name="paymentoutcome",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "problem",
            sa.Enum(
                "no_payment_intent",
                "no_amount",
                "other_currency",
                "other_mode",
                "unknown_top_up",
                "other_amount",
                "paid_before",
                "account_closed",
                "contradiction",
                name="paymentproblem",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint(
            "outcome <> 'credited' OR top_up_id IS NOT NULL", name=op.f("ck_psp_payment_credited_has_top_up")
        ),
        sa.CheckConstraint("outcome = 'credited' OR problem IS NOT NULL", name=op.f("ck_psp_payment_problem_named")),
        sa.CheckConstraint("outcome = 'not_booked' OR amount_fen > 0", name=op.f("ck_psp_payment_booked_amount")),
        sa.ForeignKeyConstraint(["top_up_id"], ["app.top_up.id"], name=op.f("fk_psp_payment_top_up_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_psp_payment")),
        sa.UniqueConstraint("key", name=op.f("uq_psp_payment_key")),
        schema="app",
    )
    op.create_index(
        "ix_psp_payment_problem",
        "psp_payment",
        ["received_at"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("problem IS NOT NULL"),
    )
    op.create_index(
        "uq_psp_payment_credited",
        "psp_payment",
        ["top_up_id"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("outcome = 'credited'"),
    )
    op.create_table(
        "reconciliation_due",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column("from_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("until_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument_id"], ["app.instrument.id"], name=op.f("fk_reconciliation_due_instrument_id")
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_reconciliation_due")),
        schema="app",
    )
    op.create_index(op.f("ix_reconciliation_due_due_at"), "reconciliation_due", ["due_at"], unique=False, schema="app")
    op.create_table(
        "tariff",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "customer_class",
            sa.Enum(
                "own_unit",
                "academic",
                "company",
                "outside_region",
                name="customerclass",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("valid_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("valid_to", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("rules", postgresql.JSONB(), nullable=False),
        sa.Column("split_at_change", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("source", sa.String(), server_default="", nullable=False),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name=op.f("ck_tariff_order")),
        sa.ForeignKeyConstraint(["instrument_id"], ["app.instrument.id"], name=op.f("fk_tariff_instrument_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tariff")),
        schema="app",
    )
    op.create_index(
        op.f("ix_tariff_instrument_id_customer_class_valid_from"),
        "tariff",
        ["instrument_id", "customer_class", "valid_from"],
        unique=False,
        schema="app",
    )
    op.create_table(
        "terminal",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "comparing",
                "enrolled",
                "revoked",
                name="terminalstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("enrolment_code_hash", sa.LargeBinary(), nullable=True),
        sa.Column("enrolment_expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("enrolled_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("approved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("approved_by", sa.String(), server_default="", nullable=False),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "revocation",
            sa.Enum(
                "stolen",
                "broken",
                "replaced",
                "fingerprint",
                "retired",
                name="revocation",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("last_seen_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("app_version", sa.String(), server_default="", nullable=False),
        sa.Column("reader", sa.String(), server_default="", nullable=False),
        sa.Column("unsent", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("config_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("config_hash", sa.String(), server_default="", nullable=False),
        sa.Column("boot", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "last_event_hash",
            sa.String(),
            server_default="0000000000000000000000000000000000000000000000000000000000000000",
            nullable=False,
        ),
        sa.Column("clock_ahead_ms", sa.BigInteger(), nullable=True),
        sa.Column("shown_config_version", sa.BigInteger(), nullable=True),
        sa.Column("running_session_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["instrument_id"], ["app.instrument.id"], name=op.f("fk_terminal_instrument_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_terminal")),
        sa.UniqueConstraint("code", name=op.f("uq_terminal_code")),
        sa.UniqueConstraint("enrolment_code_hash", name=op.f("uq_terminal_enrolment_code_hash")),
        schema="app",
    )
    op.create_index(op.f("ix_terminal_instrument_id"), "terminal", ["instrument_id"], unique=False, schema="app")
    op.create_table(
        "card_session",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column("card_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "customer_class",
            sa.Enum(
                "own_unit",
                "academic",
                "company",
                "outside_region",
                name="customerclass",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "held",
                "active",
                "stale",
                "captured",
                "void",
                "auto_ended",
                "refused",
                name="sessionstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("tariff_snapshot", postgresql.JSONB(), nullable=False),
        sa.Column("minutes", sa.BigInteger(), nullable=False),
        sa.Column("held_fen", sa.BigInteger(), nullable=False),
        sa.Column("authorized_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("latest_end_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("pin_verified", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("alive_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("metered_s", sa.BigInteger(), nullable=True),
        sa.Column("duration_s", sa.BigInteger(), nullable=True),
        sa.Column("samples", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("price_lines", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=True),
        sa.Column("paid_principal_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("paid_subsidy_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("refusal", sa.String(), server_default="", nullable=False),
        sa.Column("flags", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("capture_journal_id", sa.Uuid(), nullable=True),
        sa.Column("offline_version", sa.BigInteger(), nullable=True),
        sa.Column("advanced_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("amount_fen >= 0", name=op.f("ck_card_session_amount_not_negative")),
        sa.CheckConstraint(
            "amount_fen IS NULL OR amount_fen = paid_principal_fen + paid_subsidy_fen",
            name=op.f("ck_card_session_amount_is_what_was_paid"),
        ),
        sa.CheckConstraint("ended_at >= started_at", name=op.f("ck_card_session_order")),
        sa.ForeignKeyConstraint(["account_id"], ["app.card_account.id"], name=op.f("fk_card_session_account_id")),
        sa.ForeignKeyConstraint(["card_id"], ["app.card.id"], name=op.f("fk_card_session_card_id")),
        sa.ForeignKeyConstraint(["instrument_id"], ["app.instrument.id"], name=op.f("fk_card_session_instrument_id")),
        sa.ForeignKeyConstraint(["terminal_id"], ["app.terminal.id"], name=op.f("fk_card_session_terminal_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card_session")),
        schema="app",
    )
    op.create_index(
        op.f("ix_card_session_account_id_started_at"),
        "card_session",
        ["account_id", "started_at"],
        unique=False,
        schema="app",
    )
    op.create_index(op.f("ix_card_session_card_id"), "card_session", ["card_id"], unique=False, schema="app")
    op.create_index(
        op.f("ix_card_session_instrument_id_started_at"),
        "card_session",
        ["instrument_id", "started_at"],
        unique=False,
        schema="app",
    )
    op.create_index(
        "ix_card_session_open",
        "card_session",
        ["latest_end_at"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("status IN ('held', 'active', 'stale')"),
    )
    op.create_index(
        "ix_card_session_charged",
        "card_session",
        ["ended_at"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("status IN ('captured', 'auto_ended')"),
    )
    op.create_index(
        "uq_card_session_open_instrument",
        "card_session",
        ["instrument_id"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("status IN ('held', 'active', 'stale') AND offline_version IS NULL"),
    )
    op.create_table(
        "card_token",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("card_id", sa.BigInteger(), nullable=False),
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("by_chip", sa.Boolean(), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("used_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["card_id"], ["app.card.id"], name=op.f("fk_card_token_card_id")),
        sa.ForeignKeyConstraint(["terminal_id"], ["app.terminal.id"], name=op.f("fk_card_token_terminal_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_card_token")),
        schema="app",
    )
    op.create_index(op.f("ix_card_token_expires_at"), "card_token", ["expires_at"], unique=False, schema="app")
    op.create_table(
        "card_exchange",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("card_id", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), server_default=sa.text("''"), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["card_id"], ["app.card.id"], name=op.f("fk_card_exchange_card_id")),
        sa.ForeignKeyConstraint(["terminal_id"], ["app.terminal.id"], name=op.f("fk_card_exchange_terminal_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card_exchange")),
        schema="app",
    )
    for column in ("terminal_id", "expires_at"):
        op.create_index(op.f(f"ix_card_exchange_{column}"), "card_exchange", [column], unique=False, schema="app")
    op.create_table(
        "session_tombstone",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["terminal_id"], ["app.terminal.id"], name=op.f("fk_session_tombstone_terminal_id")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_session_tombstone")),
        schema="app",
    )
    op.create_table(
        "terminal_answer",
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("mid", sa.Uuid(), nullable=False),
        sa.Column("message_hash", sa.LargeBinary(), nullable=False),
        sa.Column("http_status", sa.BigInteger(), nullable=False),
        sa.Column("answer", postgresql.JSONB(), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["terminal_id"], ["app.terminal.id"], name=op.f("fk_terminal_answer_terminal_id")),
        sa.PrimaryKeyConstraint("terminal_id", "mid", name=op.f("pk_terminal_answer")),
        schema="app",
    )
    op.create_index(
        op.f("ix_terminal_answer_received_at"), "terminal_answer", ["received_at"], unique=False, schema="app"
    )
    op.create_table(
        "terminal_event",
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("message_hash", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("chained", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum("accepted", "parked", name="eventoutcome", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("answer", postgresql.JSONB(), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("resolved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.String(), server_default="", nullable=False),
        sa.Column("resolution", sa.String(), server_default="", nullable=False),
        sa.Column(
            "settlement",
            sa.Enum(
                "applied",
                "reduced",
                "charged",
                "dismissed",
                name="settlement",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.ForeignKeyConstraint(["terminal_id"], ["app.terminal.id"], name=op.f("fk_terminal_event_terminal_id")),
        sa.PrimaryKeyConstraint("terminal_id", "seq", "message_hash", name=op.f("pk_terminal_event")),
        schema="app",
    )
    op.create_index(
        "ix_terminal_event_parked",
        "terminal_event",
        ["received_at"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("outcome = 'parked'"),
    )
    op.create_index(op.f("ix_terminal_event_session_id"), "terminal_event", ["session_id"], unique=False, schema="app")
    op.create_index(
        "uq_terminal_event_chain",
        "terminal_event",
        ["terminal_id", "seq"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("chained"),
    )
    op.create_table(
        "session_hold",
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column(
            "purse",
            sa.Enum("subsidy", "principal", name="purse", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["app.card_session.id"], name=op.f("fk_session_hold_session_id")),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_session_hold")),
        schema="app",
    )
    op.create_index(
        op.f("ix_session_hold_session_id_sequence"),
        "session_hold",
        ["session_id", "sequence"],
        unique=True,
        schema="app",
    )
    op.create_table(
        "verdict",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column(
            "verdict",
            sa.Enum(
                "matched",
                "matched_split",
                "matched_shared",
                "over_charged",
                "under_charged",
                "phantom",
                "no_evidence",
                "box_suspect",
                "provisional",
                "exempt",
                name="chargeverdict",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("algorithm_version", sa.BigInteger(), nullable=False),
        sa.Column("tolerance_s", sa.BigInteger(), nullable=False),
        sa.Column("overlap_s", sa.BigInteger(), nullable=False),
        sa.Column("charge_only_s", sa.BigInteger(), nullable=False),
        sa.Column("box_only_s", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("superseded_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "review",
            sa.Enum(
                "verified",
                "upheld",
                "adjusted",
                "adjusted_verified",
                name="review",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("reviewed_by_id", sa.BigInteger(), nullable=True),
        sa.Column("review_note", sa.String(), nullable=True),
        sa.CheckConstraint(
            "num_nonnulls(review, reviewed_by_id, review_note) IN (0, 3)", name=op.f("ck_verdict_review_is_whole")
        ),
        sa.ForeignKeyConstraint(["reviewed_by_id"], ["app.person.id"], name=op.f("fk_verdict_reviewed_by_id")),
        sa.ForeignKeyConstraint(["session_id"], ["app.card_session.id"], name=op.f("fk_verdict_session_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
        schema="app",
    )
    op.create_index(
        op.f("ix_verdict_session_id_version"), "verdict", ["session_id", "version"], unique=True, schema="app"
    )
    op.create_index(
        "ix_verdict_waiting",
        "verdict",
        ["verdict", "id"],
        unique=False,
        schema="app",
        postgresql_where=sa.text(
            "superseded_at IS NULL AND review IS NULL AND verdict NOT IN ('matched', 'matched_split', 'matched_shared')"
        ),
    )
    op.create_index(
        "uq_verdict_current",
        "verdict",
        ["session_id"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_table(
        "usage_record",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("previous_digest", sa.LargeBinary(), nullable=True),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("verdict_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "verdict_kind",
            sa.Enum(
                "matched",
                "matched_split",
                "matched_shared",
                "over_charged",
                "under_charged",
                "phantom",
                "no_evidence",
                "box_suspect",
                "provisional",
                "exempt",
                name="chargeverdict",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("verified_by", sa.String(), nullable=True),
        sa.Column("algorithm_version", sa.BigInteger(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column("instrument_code", sa.String(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("unit_id", sa.BigInteger(), nullable=False),
        sa.Column("unit_code", sa.String(), nullable=False),
        sa.Column("sub_center_id", sa.BigInteger(), nullable=True),
        sa.Column("sub_center_code", sa.String(), nullable=True),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("account_number", sa.String(), nullable=False),
        sa.Column(
            "customer_class",
            sa.Enum(
                "own_unit",
                "academic",
                "company",
                "outside_region",
                name="customerclass",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("external", sa.Boolean(), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("charged_s", sa.BigInteger(), nullable=False),
        sa.Column("effective_s", sa.BigInteger(), nullable=False),
        sa.Column("running_s", sa.BigInteger(), nullable=False),
        sa.Column("overlap_s", sa.BigInteger(), nullable=False),
        sa.Column("energy_wh", sa.BigInteger(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("paid_principal_fen", sa.BigInteger(), nullable=False),
        sa.Column("paid_subsidy_fen", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("superseded_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "NOT withdrawn OR superseded_at IS NOT NULL", name=op.f("ck_usage_record_withdrawn_never_holds")
        ),
        sa.CheckConstraint("(version = 1) = (previous_digest IS NULL)", name=op.f("ck_usage_record_chain")),
        sa.CheckConstraint(
            "amount_fen = paid_principal_fen + paid_subsidy_fen", name=op.f("ck_usage_record_amount_is_what_was_paid")
        ),
        sa.ForeignKeyConstraint(["instrument_id"], ["app.instrument.id"], name=op.f("fk_usage_record_instrument_id")),
        sa.ForeignKeyConstraint(["session_id"], ["app.card_session.id"], name=op.f("fk_usage_record_session_id")),
        sa.ForeignKeyConstraint(["verdict_id"], ["app.verdict.id"], name=op.f("fk_usage_record_verdict_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_record")),
        sa.UniqueConstraint("document_id", name=op.f("uq_usage_record_document_id")),
        schema="app",
    )
    op.create_index(
        "ix_usage_record_account_id_started_at",
        "usage_record",
        ["account_id", "started_at"],
        unique=False,
        schema="app",
    )
    op.create_index(op.f("ix_usage_record_ended_at_id"), "usage_record", ["ended_at", "id"], unique=False, schema="app")
    op.create_index(
        op.f("ix_usage_record_instrument_id_ended_at"),
        "usage_record",
        ["instrument_id", "ended_at"],
        unique=False,
        schema="app",
    )
    op.create_index(
        op.f("ix_usage_record_session_id_version"),
        "usage_record",
        ["session_id", "version"],
        unique=True,
        schema="app",
    )
    op.create_index(
        "ix_usage_record_holding",
        "usage_record",
        ["verified_at"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_index(
        "uq_usage_record_current",
        "usage_record",
        ["session_id"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_table(
        "subsidy_decision",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("usage_record_id", sa.BigInteger(), nullable=False),
        sa.Column("rule_set_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("organisation_id", sa.BigInteger(), nullable=True),
        sa.Column("project_id", sa.BigInteger(), nullable=True),
        sa.Column("year", sa.BigInteger(), nullable=False),
        sa.Column("inputs", postgresql.JSONB(), nullable=False),
        sa.Column("trace", postgresql.JSONB(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "granted",
                "zero",
                "clawed_back",
                name="decisionstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("journal_id", sa.Uuid(), nullable=True),
        sa.Column("decided_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("clawed_back_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("claw_back_journal_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("(amount_fen > 0) = (status <> 'zero')", name=op.f("ck_subsidy_decision_zero_is_zero")),
        sa.CheckConstraint(
            "(status = 'clawed_back') = (clawed_back_at IS NOT NULL) AND (clawed_back_at IS NULL) = (claw_back_journal_id IS NULL)",
            name=op.f("ck_subsidy_decision_claw_back_is_whole"),
        ),
        sa.CheckConstraint(
            "(amount_fen > 0) = (journal_id IS NOT NULL)", name=op.f("ck_subsidy_decision_amount_is_posted")
        ),
        sa.CheckConstraint("amount_fen >= 0", name=op.f("ck_subsidy_decision_amount_not_negative")),
        sa.ForeignKeyConstraint(["rule_set_id"], ["app.rule_set.id"], name=op.f("fk_subsidy_decision_rule_set_id")),
        sa.ForeignKeyConstraint(
            ["usage_record_id"], ["app.usage_record.id"], name=op.f("fk_subsidy_decision_usage_record_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subsidy_decision")),
        sa.UniqueConstraint("usage_record_id", name=op.f("uq_subsidy_decision_usage_record_id")),
        schema="app",
    )
    op.create_index(
        op.f("ix_subsidy_decision_account_id"), "subsidy_decision", ["account_id"], unique=False, schema="app"
    )
    op.create_index(
        "ix_subsidy_decision_granted",
        "subsidy_decision",
        ["organisation_id", "year"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("status = 'granted'"),
    )
    op.create_index(
        op.f("ix_subsidy_decision_rule_set_id"), "subsidy_decision", ["rule_set_id"], unique=False, schema="app"
    )
    op.create_table(
        "voucher_draft",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("manual", "reversal", name="draftkind", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "waiting",
                "posted",
                "rejected",
                "withdrawn",
                "refused",
                name="draftstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("value_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reverses_id", sa.Uuid(), nullable=True),
        sa.Column("maker_id", sa.BigInteger(), nullable=False),
        sa.Column("checker_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("journal_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("decided_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("checker_id IS NULL OR checker_id <> maker_id", name=op.f("ck_voucher_draft_two_people")),
        sa.CheckConstraint(
            "(kind = 'reversal') = (reverses_id IS NOT NULL)", name=op.f("ck_voucher_draft_reversal_named")
        ),
        sa.CheckConstraint(
            "(status = 'posted') = (journal_id IS NOT NULL)", name=op.f("ck_voucher_draft_posted_has_journal")
        ),
        sa.ForeignKeyConstraint(["checker_id"], ["app.person.id"], name=op.f("fk_voucher_draft_checker_id")),
        sa.ForeignKeyConstraint(["maker_id"], ["app.person.id"], name=op.f("fk_voucher_draft_maker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voucher_draft")),
        sa.UniqueConstraint("journal_id", name=op.f("uq_voucher_draft_journal_id")),
        sa.UniqueConstraint("number", name=op.f("uq_voucher_draft_number")),
        schema="app",
    )
    op.create_index(op.f("ix_voucher_draft_created_at"), "voucher_draft", ["created_at"], unique=False, schema="app")
    op.create_index(
        "ix_voucher_draft_waiting",
        "voucher_draft",
        ["value_at"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.create_index(
        "uq_voucher_draft_reverses_id",
        "voucher_draft",
        ["reverses_id"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("status IN ('waiting', 'posted')"),
    )
    op.create_table(
        "voucher_draft_line",
        sa.Column("draft_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "cash",
                "client_bank",
                "fiscal_bank",
                "operating_bank",
                "psp_clearing",
                "customer_debt",
                "disputed",
                "vat",
                "principal",
                "subsidy_purse",
                "unit_payable",
                "unidentified",
                "refund_payable",
                "reward_payable",
                "subsidy_fund",
                "reward_fund",
                "service_fee",
                "psp_fee",
                "debt_written_off",
                name="bookrole",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("debit_fen", sa.BigInteger(), nullable=False),
        sa.Column("credit_fen", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "debit_fen >= 0 AND credit_fen >= 0 AND (debit_fen = 0) <> (credit_fen = 0)",
            name=op.f("ck_voucher_draft_line_one_side"),
        ),
        sa.ForeignKeyConstraint(["draft_id"], ["app.voucher_draft.id"], name=op.f("fk_voucher_draft_line_draft_id")),
        sa.PrimaryKeyConstraint("draft_id", "position", name=op.f("pk_voucher_draft_line")),
        schema="app",
    )


def _answers_to_verdicts() -> None:
    op.create_table(
        "reconciliation_policy",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sub_center_id", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "waiting",
                "published",
                "rejected",
                "withdrawn",
                name="policystatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("valid_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("valid_to", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("drafted_by_id", sa.BigInteger(), nullable=False),
        sa.Column("drafted_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("decided_by_id", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status <> 'published' OR decided_by_id IS NOT NULL",
            name=op.f("ck_reconciliation_policy_published_by_a_second_person"),
        ),
        sa.CheckConstraint(
            "decided_by_id IS NULL OR decided_by_id <> drafted_by_id", name=op.f("ck_reconciliation_policy_two_people")
        ),
        sa.CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name=op.f("ck_reconciliation_policy_order")),
        sa.ForeignKeyConstraint(
            ["decided_by_id"], ["app.person.id"], name=op.f("fk_reconciliation_policy_decided_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["drafted_by_id"], ["app.person.id"], name=op.f("fk_reconciliation_policy_drafted_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["sub_center_id"], ["app.sub_center.id"], name=op.f("fk_reconciliation_policy_sub_center_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation_policy")),
        schema="app",
    )
    op.create_index(
        op.f("ix_reconciliation_policy_sub_center_id_version"),
        "reconciliation_policy",
        ["sub_center_id", "version"],
        unique=True,
        schema="app",
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "control_total",
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("charge_s", sa.BigInteger(), nullable=False),
        sa.Column("box_s", sa.BigInteger(), nullable=False),
        sa.Column("overlap_s", sa.BigInteger(), nullable=False),
        sa.Column("charge_only_s", sa.BigInteger(), nullable=False),
        sa.Column("box_only_s", sa.BigInteger(), nullable=False),
        sa.Column("computed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("box_s = overlap_s + box_only_s", name=op.f("ck_control_total_box_adds_up")),
        sa.CheckConstraint("charge_s = overlap_s + charge_only_s", name=op.f("ck_control_total_charge_adds_up")),
        sa.CheckConstraint(
            "least(overlap_s, charge_only_s, box_only_s) >= 0", name=op.f("ck_control_total_parts_not_negative")
        ),
        sa.ForeignKeyConstraint(["instrument_id"], ["app.instrument.id"], name=op.f("fk_control_total_instrument_id")),
        sa.PrimaryKeyConstraint("instrument_id", "day", name=op.f("pk_control_total")),
        schema="app",
    )
    op.create_index(op.f("ix_control_total_day"), "control_total", ["day"], unique=False, schema="app")
    op.create_table(
        "silence_rule",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("instrument_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "maintenance",
                "background",
                "quiet",
                "exempt",
                name="rulekind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("valid_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("valid_to", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("weekdays", sa.BigInteger(), nullable=True),
        sa.Column("from_minute", sa.BigInteger(), nullable=True),
        sa.Column("until_minute", sa.BigInteger(), nullable=True),
        sa.Column("run_s_max", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("made_by_id", sa.BigInteger(), nullable=False),
        sa.Column("made_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_by_id", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(kind = 'background') = (run_s_max IS NOT NULL)", name=op.f("ck_silence_rule_background_is_bounded")
        ),
        sa.CheckConstraint(
            "from_minute BETWEEN 0 AND 1439 AND until_minute BETWEEN 0 AND 1440",
            name=op.f("ck_silence_rule_minutes_range"),
        ),
        sa.CheckConstraint("num_nonnulls(ended_by_id, ended_at) IN (0, 2)", name=op.f("ck_silence_rule_end_is_whole")),
        sa.CheckConstraint(
            "num_nonnulls(weekdays, from_minute, until_minute) IN (0, 3)", name=op.f("ck_silence_rule_week_is_whole")
        ),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name=op.f("ck_silence_rule_order")),
        sa.CheckConstraint("weekdays BETWEEN 1 AND 127", name=op.f("ck_silence_rule_weekdays_range")),
        sa.ForeignKeyConstraint(["ended_by_id"], ["app.person.id"], name=op.f("fk_silence_rule_ended_by_id")),
        sa.ForeignKeyConstraint(["instrument_id"], ["app.instrument.id"], name=op.f("fk_silence_rule_instrument_id")),
        sa.ForeignKeyConstraint(["made_by_id"], ["app.person.id"], name=op.f("fk_silence_rule_made_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silence_rule")),
        schema="app",
    )
    op.create_index(
        op.f("ix_silence_rule_instrument_id_valid_from"),
        "silence_rule",
        ["instrument_id", "valid_from"],
        unique=False,
        schema="app",
    )
    op.create_table(
        "unpaid_answer",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("box_verdict_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "action",
            sa.Enum(
                "invoice",
                "maintenance",
                "explained",
                name="unpaidaction",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=True),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("amount_fen", sa.BigInteger(), nullable=True),
        sa.Column("price_lines", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("made_by_id", sa.BigInteger(), nullable=False),
        sa.Column("made_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(action = 'maintenance') = (rule_id IS NOT NULL)", name=op.f("ck_unpaid_answer_maintenance_has_rule")
        ),
        sa.CheckConstraint(
            "num_nonnulls(account_id, amount_fen) = CASE action WHEN 'invoice' THEN 2 ELSE 0 END",
            name=op.f("ck_unpaid_answer_invoice_has_amount"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["app.card_account.id"], name=op.f("fk_unpaid_answer_account_id")),
        sa.ForeignKeyConstraint(
            ["box_verdict_id"], ["app.box_verdict.id"], name=op.f("fk_unpaid_answer_box_verdict_id")
        ),
        sa.ForeignKeyConstraint(["made_by_id"], ["app.person.id"], name=op.f("fk_unpaid_answer_made_by_id")),
        sa.ForeignKeyConstraint(["rule_id"], ["app.silence_rule.id"], name=op.f("fk_unpaid_answer_rule_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unpaid_answer")),
        sa.UniqueConstraint("box_verdict_id", name=op.f("uq_unpaid_answer_box_verdict_id")),
        schema="app",
    )
    op.create_table(
        "contest",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("made_by_id", sa.BigInteger(), nullable=False),
        sa.Column("made_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("answer_due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "contested",
                "upheld",
                "adjusted",
                "withdrawn",
                name="conteststatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("answer", sa.String(), nullable=True),
        sa.Column("answered_by_id", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status IN ('upheld', 'adjusted')) = (answer IS NOT NULL)", name=op.f("ck_contest_answered_has_answer")
        ),
        sa.CheckConstraint(
            "num_nonnulls(answered_by_id, answered_at, answer) IN (0, 3)", name=op.f("ck_contest_answer_is_whole")
        ),
        sa.ForeignKeyConstraint(["answered_by_id"], ["app.person.id"], name=op.f("fk_contest_answered_by_id")),
        sa.ForeignKeyConstraint(["made_by_id"], ["app.person.id"], name=op.f("fk_contest_made_by_id")),
        sa.ForeignKeyConstraint(["session_id"], ["app.card_session.id"], name=op.f("fk_contest_session_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contest")),
        schema="app",
    )
    op.create_index(
        "ix_contest_open",
        "contest",
        ["answer_due_at"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("status = 'contested'"),
    )
    op.create_index(
        "uq_contest_session_id",
        "contest",
        ["session_id"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("status <> 'withdrawn'"),
    )
    op.create_table(
        "adjustment",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("verdict_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "cause",
            sa.Enum("policy", "review", "contest", name="cause", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("policy_id", sa.BigInteger(), nullable=True),
        sa.Column("contest_id", sa.BigInteger(), nullable=True),
        sa.Column("decided_by_id", sa.BigInteger(), nullable=True),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("principal_fen", sa.BigInteger(), nullable=False),
        sa.Column("subsidy_fen", sa.BigInteger(), nullable=False),
        sa.Column("fee_fen", sa.BigInteger(), nullable=False),
        sa.Column("vat_fen", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("journal_id", sa.Uuid(), nullable=True),
        sa.Column("posted_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("(cause = 'contest') = (contest_id IS NOT NULL)", name=op.f("ck_adjustment_contest_named")),
        sa.CheckConstraint("(cause = 'policy') = (decided_by_id IS NULL)", name=op.f("ck_adjustment_person_named")),
        sa.CheckConstraint("(cause = 'policy') = (policy_id IS NOT NULL)", name=op.f("ck_adjustment_policy_named")),
        sa.CheckConstraint("(amount_fen > 0) = (journal_id IS NOT NULL)", name=op.f("ck_adjustment_amount_is_posted")),
        sa.CheckConstraint(
            "amount_fen = principal_fen + subsidy_fen", name=op.f("ck_adjustment_amount_is_both_purses")
        ),
        sa.CheckConstraint("amount_fen > 0 OR cause = 'policy'", name=op.f("ck_adjustment_nothing_only_by_policy")),
        sa.CheckConstraint(
            "least(principal_fen, subsidy_fen, fee_fen, vat_fen) >= 0", name=op.f("ck_adjustment_parts_not_negative")
        ),
        sa.ForeignKeyConstraint(["contest_id"], ["app.contest.id"], name=op.f("fk_adjustment_contest_id")),
        sa.ForeignKeyConstraint(["decided_by_id"], ["app.person.id"], name=op.f("fk_adjustment_decided_by_id")),
        sa.ForeignKeyConstraint(["policy_id"], ["app.reconciliation_policy.id"], name=op.f("fk_adjustment_policy_id")),
        sa.ForeignKeyConstraint(["session_id"], ["app.card_session.id"], name=op.f("fk_adjustment_session_id")),
        sa.ForeignKeyConstraint(["verdict_id"], ["app.verdict.id"], name=op.f("fk_adjustment_verdict_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjustment")),
        sa.UniqueConstraint("journal_id", name=op.f("uq_adjustment_journal_id")),
        schema="app",
    )
    op.create_index(op.f("ix_adjustment_session_id"), "adjustment", ["session_id"], unique=False, schema="app")
    op.create_index(
        "uq_adjustment_policy",
        "adjustment",
        ["verdict_id"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("cause = 'policy'"),
    )


def _boxes_and_jobs() -> None:
    op.create_table(
        "alarm",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "silent",
                "no_readings",
                "clock",
                "signature",
                "stuck",
                "backlog",
                "ingest_lost",
                name="alarmkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("box", sa.String(), nullable=True),
        sa.Column("channel", sa.BigInteger(), nullable=True),
        sa.Column("opened_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.Column("acknowledged_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.String(), nullable=True),
        sa.Column("note", sa.String(), server_default="", nullable=False),
        sa.CheckConstraint("closed_at IS NULL OR closed_at >= opened_at", name=op.f("ck_alarm_order")),
        sa.CheckConstraint(
            "(acknowledged_at IS NULL) = (acknowledged_by IS NULL)", name=op.f("ck_alarm_acknowledged_is_whole")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
        schema="app",
    )
    op.create_index("ix_alarm_box_opened_at", "alarm", ["box", "opened_at"], unique=False, schema="app")
    op.create_index("ix_alarm_opened_at", "alarm", ["opened_at"], unique=False, schema="app")
    op.create_index(
        "uq_alarm_open",
        "alarm",
        ["kind", "subject"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "channel_check",
        sa.Column("box", sa.String(), nullable=False),
        sa.Column("channel", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("checked_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("window_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("known_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("offset_s", sa.Float(), nullable=True),
        sa.Column("clock_unset", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("backlog_messages", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("backlog_rises", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("signature_checked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("separation_decades", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("box", "channel", name=op.f("pk_channel_check")),
        schema="app",
    )
    op.create_index(op.f("ix_channel_check_checked_at"), "channel_check", ["checked_at"], unique=False, schema="app")
    op.create_table(
        "calibration_attempt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("box", sa.String(), nullable=False),
        sa.Column("channel", sa.BigInteger(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("since", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("known_s", sa.BigInteger(), nullable=False),
        sa.Column("separation_decades", sa.Float(), nullable=True),
        sa.Column("duty", sa.Float(), nullable=True),
        sa.Column("runs_a_day", sa.Float(), nullable=True),
        sa.Column("run_threshold_w", sa.Float(), nullable=True),
        sa.Column("standby_threshold_w", sa.Float(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("valid_from", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(reason IS NULL) = (run_threshold_w IS NOT NULL)", name=op.f("ck_calibration_attempt_thresholds_or_reason")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibration_attempt")),
        schema="app",
    )
    op.create_index(
        "ix_calibration_attempt_box_channel",
        "calibration_attempt",
        ["box", "channel", "id"],
        unique=False,
        schema="app",
    )
    op.create_table(
        "job_run",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("runs", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("done", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("total_s", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("newest_s", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("succeeded_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("failed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_run")),
        schema="app",
    )


def _offline() -> None:
    moment = postgresql.TIMESTAMP(timezone=True)
    op.create_table(
        "offline_setting",
        sa.Column("instrument_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("strict", sa.Boolean(), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument_id"], ["app.instrument.id"], name=op.f("fk_offline_setting_instrument_id")
        ),
        sa.PrimaryKeyConstraint("instrument_id", name=op.f("pk_offline_setting")),
        schema="app",
    )
    op.create_table(
        "offline_list",
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("valid_from", moment, nullable=False),
        sa.Column("valid_until", moment, nullable=False),
        sa.Column("strict", sa.Boolean(), nullable=False),
        sa.Column("tariffs", postgresql.JSONB(), nullable=False),
        sa.Column("hot_uids", postgresql.JSONB(), nullable=False),
        sa.Column("taken_at", moment, nullable=True),
        sa.ForeignKeyConstraint(["terminal_id"], ["app.terminal.id"], name=op.f("fk_offline_list_terminal_id")),
        sa.PrimaryKeyConstraint("terminal_id", "version", name=op.f("pk_offline_list")),
        schema="app",
    )
    op.create_index(op.f("ix_offline_list_valid_from"), "offline_list", ["valid_from"], unique=False, schema="app")
    op.create_table(
        "offline_allowance",
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("card_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("uid", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.BigInteger(), nullable=False),
        sa.Column("tariff", sa.BigInteger(), nullable=False),
        sa.Column("limit_fen", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("limit_fen > 0", name=op.f("ck_offline_allowance_limit_is_something")),
        sa.ForeignKeyConstraint(["card_id"], ["app.card.id"], name=op.f("fk_offline_allowance_card_id")),
        sa.ForeignKeyConstraint(
            ["terminal_id", "version"],
            ["app.offline_list.terminal_id", "app.offline_list.version"],
            name=op.f("fk_offline_allowance_terminal_id_version"),
        ),
        sa.PrimaryKeyConstraint("terminal_id", "version", "card_id", name=op.f("pk_offline_allowance")),
        schema="app",
    )
    op.create_index(
        op.f("ix_offline_allowance_card_id_version"),
        "offline_allowance",
        ["card_id", "version"],
        unique=False,
        schema="app",
    )
    op.create_table(
        "offline_reserve",
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("card_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("held_fen", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("held_at", moment, nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.Column("keep_until", moment, nullable=False),
        sa.CheckConstraint("held_fen >= 0", name=op.f("ck_offline_reserve_held_not_negative")),
        sa.ForeignKeyConstraint(["account_id"], ["app.card_account.id"], name=op.f("fk_offline_reserve_account_id")),
        sa.ForeignKeyConstraint(["card_id"], ["app.card.id"], name=op.f("fk_offline_reserve_card_id")),
        sa.ForeignKeyConstraint(["terminal_id"], ["app.terminal.id"], name=op.f("fk_offline_reserve_terminal_id")),
        sa.PrimaryKeyConstraint("terminal_id", "card_id", name=op.f("pk_offline_reserve")),
        schema="app",
    )
    op.create_index(
        op.f("ix_offline_reserve_account_id"), "offline_reserve", ["account_id"], unique=False, schema="app"
    )
    op.create_index(
        "ix_offline_reserve_open",
        "offline_reserve",
        ["keep_until"],
        unique=False,
        schema="app",
        postgresql_where=sa.text("held_fen > 0"),
    )
    op.create_table(
        "offline_hold",
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("card_id", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column(
            "purse",
            sa.Enum("subsidy", "principal", name="purse", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["terminal_id", "card_id"],
            ["app.offline_reserve.terminal_id", "app.offline_reserve.card_id"],
            name=op.f("fk_offline_hold_terminal_id_card_id"),
        ),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_offline_hold")),
        schema="app",
    )
    op.create_index(
        op.f("ix_offline_hold_terminal_id_card_id_generation"),
        "offline_hold",
        ["terminal_id", "card_id", "generation"],
        unique=False,
        schema="app",
    )


def _card_making() -> None:
    moment = postgresql.TIMESTAMP(timezone=True)

    def closed_list(name: str, *values: str) -> sa.Enum:
        return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)

    op.create_table(
        "chip",
        sa.Column("uid", sa.LargeBinary(), nullable=False),
        sa.Column("attempts_unproved", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_attempt_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_chip")),
        schema="app",
    )
    op.create_table(
        "chip_keys",
        sa.Column("uid", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("master_version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("uid", "key_version", name=op.f("pk_chip_keys")),
        schema="app",
    )
    op.create_table(
        "station",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("place", sa.String(), server_default="", nullable=False),
        sa.Column("status", closed_list("stationstatus", "pending", "enrolled", "revoked"), nullable=False),
        sa.Column("enrolment_code_hash", sa.LargeBinary(), nullable=True),
        sa.Column("enrolment_expires_at", moment, nullable=True),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("last_seen_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_station")),
        sa.UniqueConstraint("code", name=op.f("uq_station_code")),
        sa.UniqueConstraint("enrolment_code_hash", name=op.f("uq_station_enrolment_code_hash")),
        schema="app",
    )
    op.create_table(
        "card_work",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("card_id", sa.BigInteger(), nullable=False),
        sa.Column("station_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", closed_list("workpurpose", "issue", "renew"), nullable=False),
        sa.Column("status", closed_list("workstatus", "waiting", "running", "done", "cancelled"), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("uid", sa.LargeBinary(), nullable=True),
        sa.Column("key_version", sa.BigInteger(), nullable=True),
        sa.Column("taps", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("stage", sa.String(), server_default="", nullable=False),
        sa.Column("trouble", sa.String(), server_default="", nullable=False),
        sa.Column("exchange_id", sa.Uuid(), nullable=True),
        sa.Column("exchange_step", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("exchange_state", sa.LargeBinary(), nullable=True),
        sa.Column("last_message", sa.String(), server_default="", nullable=False),
        sa.Column("last_answer", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.ForeignKeyConstraint(["card_id"], ["app.card.id"], name=op.f("fk_card_work_card_id")),
        sa.ForeignKeyConstraint(["station_id"], ["app.station.id"], name=op.f("fk_card_work_station_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card_work")),
        schema="app",
    )
    for column in ("station", "card"):
        op.create_index(
            f"uq_card_work_{column}",
            "card_work",
            [f"{column}_id"],
            unique=True,
            schema="app",
            postgresql_where=sa.text("status IN ('waiting', 'running')"),
        )
    op.create_index("ix_card_work_card_id_created_at", "card_work", ["card_id", "created_at"], schema="app")
    op.create_table(
        "key_use",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column(
            "reason",
            closed_list(
                "keyreason",
                "sun_proof",
                "personalise",
                "online_proof",
                "offline_list",
                "virtual_card",
                "created",
                "rewrapped",
            ),
            nullable=False,
        ),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("master_version", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_use")),
        schema="app",
    )
    op.create_index("ix_key_use_uid", "key_use", ["uid"], schema="app")
    op.create_index("ix_key_use_at", "key_use", ["at"], schema="app")


# --- triggers: kept when the tables above are generated anew
# Written once, never changed: what an auditor or a court reads must be what was written that day.
APPEND_ONLY = ("audit_entry", "session_tombstone", "voucher_draft_line", "adjustment", "unpaid_answer", "key_use")
# Decisions: what they say stays as it was; only the columns named here may be set later.
WRITTEN_ONCE = {
    "verdict": ("superseded_at",),
    "box_verdict": ("superseded_at",),
    "usage_record": ("superseded_at",),
    "silence_rule": ("valid_to", "ended_by_id", "ended_at"),
    "reconciliation_policy": ("status", "valid_from", "valid_to", "decided_by_id", "decided_at"),
    "contest": ("status", "answer", "answered_by_id", "answered_at"),
    "rule_set": ("valid_to",),
    "subsidy_decision": ("status", "clawed_back_at", "claw_back_journal_id"),
    "voucher_draft": ("status", "checker_id", "reason", "journal_id", "decided_at"),
}


def _triggers() -> None:
    op.execute(
        """
        CREATE FUNCTION app.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% of app.% is refused: it is append-only', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON app.{table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION app.refuse_change()"
        )
        op.execute(f"REVOKE UPDATE, DELETE ON app.{table} FROM testcard_service")
    op.execute(
        """
        CREATE FUNCTION app.refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - TG_ARGV = to_jsonb(OLD) - TG_ARGV THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION '% of app.% is refused: it is written once', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    for table, later in WRITTEN_ONCE.items():
        arguments = ", ".join(f"'{column}'" for column in later)
        op.execute(
            f"CREATE TRIGGER written_once BEFORE UPDATE OR DELETE ON app.{table} "
            f"FOR EACH ROW EXECUTE FUNCTION app.refuse_rewriting({arguments})"
        )
    # What was superseded once never holds again: a change back is a next version, sealed like every other.
    op.execute(
        "CREATE TRIGGER superseded_once BEFORE UPDATE ON app.usage_record FOR EACH ROW"
        " WHEN (OLD.superseded_at IS NOT NULL) EXECUTE FUNCTION app.refuse_change()"
    )
