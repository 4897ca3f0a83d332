import { Command as CommanderCommand, CommanderError, Option as CommanderOption } from 'commander';
import { type AnyCommand, type Context, exitStatus, type Given, type Result } from './command.js';
import type { FailureSurroundings } from './failure.js';
import type { Io } from './io.js';
import { terminalProgress } from './progress.js';
import { screenOn } from './screen.js';
import { type CommandTable, findNode, type Group, isLeaf, type Leaf } from './table.js';

export interface Product {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  /** Shown at the end of the top page of help. */
  readonly closing: string;
  readonly table: CommandTable;
}

/** What the command line asks for: nothing more to do (help was shown), or a command with its raw values. */
interface Request {
  readonly command: AnyCommand;
  readonly json: boolean;
  readonly given: Readonly<Record<string, Given>>;
}

/**
 * Runs the command that `words` name and gives the exit status. Only that command's module is loaded.
 */
export async function runProgram(product: Product, words: readonly string[], io: Io): Promise<number> {
  const asked = withoutHelpWord(words);
  const json = asked.includes('--json');
  const help = `${[product.name, ...findNode(product.table, asked).path].join(' ')} --help`;
  try {
    const request = await parse(product, asked, io);
    if (request === undefined) return exitStatus.done;
    return await execute(request, io);
  } catch (error) {
    if (error instanceof CommanderError) return usageStatus(error, { io, json, help });
    const { reportFailure } = await import('./failure.js');
    return reportFailure(error, { io, json, help });
  }
}

async function execute({ command, json, given }: Request, io: Io): Promise<number> {
  const progress = terminalProgress(io);
  const context: Context = { io, json, progress };
  let result: Result;
  try {
    const declared = { ...command.arguments, ...command.options };
    const values = Object.fromEntries(
      Object.entries(declared).map(([name, each]) => [name, each.read(given[name])]),
    );
    result = await command.run(values, context);
  } finally {
    progress.clear();
  }
  if (json) io.stdout.write(`${JSON.stringify(result.json, undefined, 2)}\n`);
  else result.render(screenOn(io.stdout, io.env));
  await result.stay?.(io.stopSignal());
  return result.exit;
}

/** Builds commander's tree along the named path only, and lets it read the words. */
async function parse(product: Product, words: readonly string[], io: Io): Promise<Request | undefined> {
  const { path, node } = findNode(product.table, words);
  const leaf = node !== undefined && isLeaf(node) ? node : undefined;
  const declaration = leaf === undefined ? undefined : await leaf.load();
  let request: Request | undefined;

  const root = new CommanderCommand(product.name)
    .description(product.description)
    .version(product.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      outputError: () => undefined,
      getOutHelpWidth: () => io.stdout.columns ?? 100,
      getErrHelpWidth: () => io.stderr.columns ?? 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText('after', `\n${product.closing}`);
  addNodes(root, product.table, path, (command, found) => {
    if (found !== leaf || declaration === undefined) return;
    declare(command, path, declaration, (given) => {
      request = { command: declaration, json: given['json'] === true, given };
    });
  });
  if (words.length === 0) root.outputHelp();
  else await root.parseAsync([...words], { from: 'user' });
  return request;
}

function addNodes(
  above: CommanderCommand,
  table: CommandTable,
  path: readonly string[],
  onLeaf: (command: CommanderCommand, leaf: Leaf | Group) => void,
): void {
  for (const [word, node] of Object.entries(table)) {
    const made = above.command(word).summary(node.summary).description(node.summary).helpCommand(false);
    if (word !== path[0]) continue;
    if (node.commands !== undefined) addNodes(made, node.commands, path.slice(1), onLeaf);
    if (isLeaf(node)) onLeaf(made, node);
  }
}

function declare(
  made: CommanderCommand,
  path: readonly string[],
  declaration: AnyCommand,
  onRun: (given: Record<string, Given>) => void,
): void {
  made.description(declaration.description);
  for (const each of Object.values(declaration.arguments)) made.argument(each.name, each.help);
  const attributes: [name: string, attribute: string][] = [];
  for (const [name, each] of Object.entries(declaration.options)) {
    const option = new CommanderOption(each.flags, each.help);
    if (each.repeats === true)
      option.argParser((value: string, before: readonly string[] = []) => [...before, value]);
    if (each.group !== undefined) option.helpGroup(`${each.group}:`);
    attributes.push([name, option.attributeName()]);
    made.addOption(option);
  }
  made.option('--json', 'print one JSON document on standard output, and nothing else there');
  made.addHelpText('after', exampleText(path, declaration));
  made.action((...words: unknown[]) => {
    const options = made.opts<Record<string, Given>>();
    const given: Record<string, Given> = { json: options['json'] };
    for (const [name, attribute] of attributes) given[name] = options[attribute];
    for (const [at, name] of Object.keys(declaration.arguments).entries()) given[name] = words[at] as Given;
    onRun(given);
  });
}

function exampleText(path: readonly string[], declaration: AnyCommand): string {
  if (declaration.examples.length === 0) return '';
  const lines = declaration.examples.map(({ line, explains }) => `  # ${explains}\n  $ vouchsafe ${line}`);
  return `\n${path.length > 0 ? 'Examples' : 'Example'}:\n${lines.join('\n')}`;
}

/** `vouchsafe help chain verify` is `vouchsafe chain verify --help`. */
function withoutHelpWord(words: readonly string[]): string[] {
  return words[0] === 'help' ? [...words.slice(1), '--help'] : [...words];
}

/** Commander signals help and version by exceptions too; everything else is a mistake in the arguments. */
function usageStatus(error: CommanderError, { io, json, help }: FailureSurroundings): number {
  if (error.code === 'commander.helpDisplayed' || error.code === 'commander.version') return exitStatus.done;
  const isHelp = error.code === 'commander.help';
  const message = isHelp ? 'a command has to be named' : error.message.replace(/^error: /, '');
  const hint = `\`${help}\` shows how it is written`;
  if (json) {
    const document = { error: { code: 'invalid-argument', message, hint } };
    io.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
  } else if (!isHelp) {
    io.stderr.write(`vouchsafe: ${message}\n  hint: ${hint}\n`);
  }
  return exitStatus.malformed;
}
