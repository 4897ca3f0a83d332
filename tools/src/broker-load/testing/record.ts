import { type Ask, good } from '../guest.js';

/** What the tests read in an entry of the record. */
export interface Entry {
  readonly kind: string;
  readonly replica: string;
  readonly subject?: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Names of the checks of the record that did not pass. */
export async function failedChecks(ask: Ask): Promise<string[]> {
  const { text } = await good(ask, { method: 'GET', path: '/v1/audit/verify' });
  const { checks } = JSON.parse(text) as { checks: { id: string; status: string }[] };
  return checks.filter(({ status }) => status !== 'pass').map(({ id, status }) => `${id} ${status}`);
}

/** Every entry of the record. */
export async function entries(ask: Ask): Promise<Entry[]> {
  const { text } = await good(ask, { method: 'GET', path: '/v1/audit/export' });
  return text
    .split('\n')
    .filter((line) => line !== '')
    .flatMap((line) => {
      const { entry } = JSON.parse(line) as { readonly entry?: Entry };
      return entry === undefined ? [] : [entry];
    });
}
