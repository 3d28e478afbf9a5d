import pytest

from app import settings

GOOD = {
    "TESTCARD_DATABASE_URL": "postgresql://localhost/testcard",
    "TESTCARD_SECRET_KEY": "s" * 32,
    "TESTCARD_KEY_ENCRYPTION_KEY": "00" * 32,
}


def _set(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_good_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, {**GOOD, "TESTCARD_SITE_TIMEZONE": "Asia/Urumqi", "TESTCARD_PSP_WEBHOOK_SECRETS": "a,b"})
    values = settings.load()
    assert str(values.site_timezone) == "Asia/Urumqi"
    assert values.psp_webhook_secrets == ("a", "b")
    assert len(values.key_encryption_key) == 32


def test_every_mistake_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(
        monkeypatch,
        {
            "TESTCARD_DATABASE_URL": "sqlite:///x",
            "TESTCARD_SECRET_KEY": "short",
            "TESTCARD_KEY_ENCRYPTION_KEY": "not hex",
            "TESTCARD_SITE_TIMEZONE": "Mars/Olympus",
            "TESTCARD_MQTT_PORT": "many",
        },
    )
    with pytest.raises(settings.SettingsError) as error:
        settings.load()
    for name in ("DATABASE_URL", "SECRET_KEY", "KEY_ENCRYPTION_KEY", "SITE_TIMEZONE", "MQTT_PORT"):
        assert f"TESTCARD_{name}" in str(error.value)


def test_a_missing_secret_is_a_mistake_and_never_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, GOOD)
    monkeypatch.delenv("TESTCARD_SECRET_KEY")
    with pytest.raises(settings.SettingsError, match="TESTCARD_SECRET_KEY"):
        settings.load()


def test_fresh_secrets_make_valid_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, {**settings.fresh_secrets(), "TESTCARD_DATABASE_URL": GOOD["TESTCARD_DATABASE_URL"]})
    assert settings.load().secret_key
