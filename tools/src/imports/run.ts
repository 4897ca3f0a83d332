import { checkImports } from './check.js';

/** Prints what breaks the table and gives the exit status: 0 when nothing does, else 1. */
export function runImportCheck(root: string, print: (line: string) => void): 0 | 1 {
  const problems = checkImports(root);
  for (const { where, message } of problems) print(`${where}: ${message}`);
  print(
    problems.length === 0
      ? 'imports: every package imports only what its role may know'
      : `imports: ${problems.length} refused`,
  );
  return problems.length === 0 ? 0 : 1;
}
