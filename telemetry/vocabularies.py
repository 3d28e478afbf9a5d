"""What our states are called elsewhere: OPC UA LADS, OPC UA for Machinery, PackML, SEMI E10.

Power tells less than those models ask for, so each state maps to the one word that claims no more than was measured;
unknown maps to none. Sources: OPC 30500-1, 7.1.2 and 7.1.5; OPC 40001-1, 12; ISA-TR88.00.02 by OPC 30050; SEMI E10 by
the table of OPC 40001-1 that relates the two.
"""

from dataclasses import dataclass

from telemetry.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """One state in the words of others; empty: they have none that would be true."""

    lads_device: str = ""
    lads_functional_unit: str = ""
    machinery_item: str = ""
    packml: str = ""
    semi_e10: str = ""


NAMES = {
    State.RUNNING: Names(
        lads_device="Operate",
        lads_functional_unit="Running",
        machinery_item="Executing",
        packml="Execute",
        semi_e10="Productive",
    ),
    State.STANDBY: Names(
        lads_device="Operate",
        lads_functional_unit="Stopped",
        machinery_item="NotExecuting",
        packml="Idle",
        semi_e10="Standby",
    ),
    State.OFF: Names(lads_device="Shutdown", machinery_item="NotAvailable", packml="Stopped", semi_e10="Nonscheduled"),
    State.UNKNOWN: Names(),
}
