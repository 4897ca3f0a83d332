#!/usr/bin/env node
import { existsSync } from 'node:fs';
import module from 'node:module';

// Committed, so that `npm ci` can link the command before anything is built.
const built = new URL('../dist/main.js', import.meta.url);

if (existsSync(built)) {
  module.enableCompileCache?.();
  const { runProcess } = await import(built.href);
  await runProcess();
} else {
  process.stderr.write(
    'vouchsafe: it has not been built yet\n  hint: run `npm run build` in the root of the clone\n',
  );
  process.exitCode = 3;
}
