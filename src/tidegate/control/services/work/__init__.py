"""The work of devices: what each should do, leave to do it, what they report (SPEC section 7).

Called by the device channel with a verified device instead of a `Scope`: a device acts for itself alone.
"""

from tidegate.control.services.work.desired import desired, devices_with_work, generation
from tidegate.control.services.work.leave import leave
from tidegate.control.services.work.lifecycle import baseline_completed, decommissioned, enrolled, reenrolled
from tidegate.control.services.work.observe import observe
from tidegate.control.services.work.report import report

__all__ = [
    "baseline_completed",
    "decommissioned",
    "desired",
    "devices_with_work",
    "enrolled",
    "generation",
    "leave",
    "observe",
    "reenrolled",
    "report",
]
