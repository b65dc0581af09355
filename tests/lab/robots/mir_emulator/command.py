# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command behind serve.py."""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
from pathlib import Path

from .configuration import Configuration, ConfigurationError, read
from .control_desk import ControlDesk
from .conversation import Conversation
from .device import Device, Workshop
from .listeners import Listeners
from .pairs import PairError
from .request_log import RequestLog


async def serve(configuration: Configuration) -> None:
    """Serve all devices until SIGTERM or SIGINT."""
    log, workshop = RequestLog(configuration.log), Workshop(configuration)
    devices = {settings.name: Device(settings, workshop) for settings in configuration.devices}
    listeners = Listeners(configuration, devices.values(), Conversation(configuration, devices, log))
    listeners.start()
    desk = await ControlDesk(devices, listeners, log).open(configuration.control)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    sys.stdout.write(f"serving {len(devices)} devices\n")
    sys.stdout.flush()
    await stopped.wait()
    listeners.stop()
    desk.close()
    configuration.control.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Read the configuration and serve."""
    parser = argparse.ArgumentParser(description="Emulated MiR robots and MiR Fleet; see serve.py.")
    parser.add_argument("--config", type=Path, required=True)
    given = parser.parse_args(arguments)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        asyncio.run(serve(read(given.config)))
    except (ConfigurationError, PairError, OSError) as exc:
        sys.stderr.write(f"ERROR: {exc}\n")
        return 1
    return 0
