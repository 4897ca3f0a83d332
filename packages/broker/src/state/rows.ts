import type {
  KyselyPlugin,
  PluginTransformQueryArgs,
  PluginTransformResultArgs,
  QueryResult,
  RootOperationNode,
  UnknownRow,
} from 'kysely';

/**
 * Rows as the tables declare them: one driver gives bytes as ArrayBuffer, the other as Buffer. What comes after each
 * statement can be watched.
 */
export class NormalisedRows implements KyselyPlugin {
  readonly #afterStatement: (name: string) => Promise<void> | void;

  constructor(afterStatement: (name: string) => Promise<void> | void = () => undefined) {
    this.#afterStatement = afterStatement;
  }

  transformQuery({ node }: PluginTransformQueryArgs): RootOperationNode {
    return node;
  }

  async transformResult({ result }: PluginTransformResultArgs): Promise<QueryResult<UnknownRow>> {
    await this.#afterStatement('statement');
    return { ...result, rows: result.rows.map(normalised) };
  }
}

function normalised(row: UnknownRow): UnknownRow {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plain(value)]));
}

function plain(value: unknown): unknown {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (value instanceof Uint8Array) return new Uint8Array(value);
  return value;
}
