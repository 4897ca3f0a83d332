import { describe, expect, it } from 'vitest';
import type { TestModule } from 'vitest/node';
import { summarise } from './summary-reporter.js';

function module(states: string[], errors: unknown[] = []): TestModule {
  const tests = states.map((state) => ({ result: () => ({ state }) }));
  const state = errors.length > 0 || states.includes('failed') ? 'failed' : 'passed';
  return {
    children: { allTests: () => tests },
    state: () => state,
    errors: () => errors,
  } as unknown as TestModule;
}

describe('the closing line', () => {
  it('counts tests over all files', () => {
    expect(summarise([module(['passed', 'failed', 'skipped']), module(['passed'])], [])).toEqual({
      passed: 2,
      failed: 1,
      skipped: 1,
    });
  });

  it('counts a file that could not be loaded and an error outside tests as failures', () => {
    expect(summarise([module([], [new Error('syntax')])], [{ message: 'late rejection' }])).toEqual({
      passed: 0,
      failed: 2,
      skipped: 0,
    });
  });
});
