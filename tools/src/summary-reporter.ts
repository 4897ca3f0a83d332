import { writeFileSync } from 'node:fs';
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

export interface Summary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/**
 * Counts the tests of a run for `tools/test`, which prints them as its last line. A file that could not be loaded and an
 * error outside any test are failures too, so that the line cannot say less than the exit status.
 */
export function summarise(modules: readonly TestModule[], unhandled: readonly SerializedError[]): Summary {
  const tests = modules.flatMap((module) => [...module.children.allTests()]);
  const count = (state: string) => tests.filter((test) => test.result().state === state).length;
  const brokenFiles = modules.filter(
    (module) => module.state() === 'failed' && module.errors().length > 0,
  ).length;
  return {
    passed: count('passed'),
    failed: count('failed') + brokenFiles + unhandled.length,
    skipped: count('skipped'),
  };
}

/** Writes `passed failed skipped` to a file. */
export class SummaryReporter implements Reporter {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const { passed, failed, skipped } = summarise(modules, unhandled);
    writeFileSync(this.#file, `${passed} ${failed} ${skipped}\n`);
  }
}
