"""The programs of the READMEs, as whoever copies them runs them."""

import asyncio
import os
import re
import shlex
import sys
import tempfile
import unittest
from pathlib import Path

import anyport
from stage import PATIENCE_SECS, Story

BINDINGS = Path(__file__).parent.parent.parent
# A Kotlin compiler is seldom at hand. Where there is one, these name it and the jars of its library, of kotlinx-coroutines and of JNA.
KOTLINC = shlex.split(os.environ.get("KOTLINC", ""))
KOTLIN_CLASSPATH = os.environ.get("KOTLIN_CLASSPATH", "")
COMPILING_SECS = 600


def program_of(language):
    readme = (BINDINGS / language / "README.md").read_text()
    [program] = re.findall(rf"^```{language}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    return program


class Readmes(Story):
    async def run_program(self, *command, within=PATIENCE_SECS):
        environment = {**os.environ, "ANYPORT_HOME": self.home, "ANYPORT_SERVER": self.broker}
        running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
        try:
            out, _ = await asyncio.wait_for(running.communicate(), within)
        finally:
            if running.returncode is None:
                running.kill()
        self.assertEqual(running.returncode, 0, out.decode())
        return out.decode()

    async def test_the_python_program_prints_the_one_event_that_it_subscribes_to(self):
        # Often, because the moment at which a program ends is a dangerous one: see `stop_runtime`.
        for _ in range(10):
            printed = await self.run_program(sys.executable, "-c", program_of("python"))
            self.assertEqual(printed, "5.1 off Japan\n")

    @unittest.skipUnless(KOTLINC, "KOTLINC and KOTLIN_CLASSPATH name no Kotlin compiler and jars")
    async def test_the_kotlin_program_prints_the_one_event_that_it_subscribes_to(self):
        library = Path(anyport.__file__).parent
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "Quakes.kt"
            source.write_text(program_of("kotlin"))
            generated = library.parent.parent / "kotlin" / "anyport" / "anyport.kt"
            compiling = [*KOTLINC, "-cp", KOTLIN_CLASSPATH, "-d", folder, generated, source]
            await self.run_program(*compiling, within=COMPILING_SECS)
            running = ["java", f"-Djna.library.path={library}", "-cp", f"{folder}:{KOTLIN_CLASSPATH}", "QuakesKt"]
            printed = await self.run_program(*running)
        self.assertEqual(printed, '{"mag": 5.1, "place": "off Japan"}\n')
