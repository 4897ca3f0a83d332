import { request } from 'node:http';
import { createAgent, imagePolicyGate, offlineTable } from '@vouchsafe/guest';
import { InvalidArgumentError, Secret, toBase64 } from '@vouchsafe/sev';
import { collect } from '../../frame/collect.js';
import type { Outcome, SnpAttack } from '../attack.js';

/** Whoever asks the attestation agent in the guest for its secrets, and is none of its containers. */

const modes = ['snp'] as const;
const common = { flow: 'secrets', modes, refusedBy: 'guest' } as const;
const path = 'owner/password/database';
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** An agent with one secret, that every process of its machine may have. */
function newAgent() {
  const table = Secret.take(bytesOf(JSON.stringify({ [path]: toBase64(bytesOf('correct horse')) })));
  return createAgent({
    device: undefined,
    broker: undefined,
    eventLog: false,
    resources: offlineTable(table, { name: 'injected secrets', keysOnly: false }),
    imagePolicy: imagePolicyGate({ policy: async () => undefined, readKey: async () => new Uint8Array() }),
    version: '1',
    rules: { users: 'any' },
  });
}

/** What the agent answers over HTTP. */
function get(
  place: string,
  headers: Readonly<Record<string, string>>,
): Promise<[status: number, text: string]> {
  return new Promise((resolve, reject) => {
    const asked = request(`http://${place}/cdh/resource/${path}`, { headers, agent: false });
    asked.once('error', reject);
    asked.once('response', (response) => {
      const text = collect(response, 'answer').then((body) => new TextDecoder().decode(body));
      text.then((read) => resolve([response.statusCode ?? 0, read]), reject);
    });
    asked.end();
  });
}

export const agentAttacks: readonly SnpAttack[] = [
  {
    ...common,
    id: 'agent-beyond-loopback',
    title: 'The host has the guest’s agent listen on an address that other machines reach',
    at: 'invalid-argument',
    async run(): Promise<Outcome> {
      try {
        const { close } = await newAgent().serve({ rest: '0.0.0.0:0' });
        await close();
      } catch (error) {
        if (!(error instanceof InvalidArgumentError)) throw error;
        return { refusedBy: 'guest', at: error.code, evidence: error.message };
      }
      return { refusedBy: 'nobody', at: 'secrets for whoever asks', evidence: 'the agent listens' };
    },
  },
  {
    ...common,
    id: 'agent-asked-by-a-page',
    title: 'A page in a browser of the guest has its own name resolved to loopback, and asks the agent',
    at: 'status 403',
    async run(): Promise<Outcome> {
      const { places, close } = await newAgent().serve({ rest: '127.0.0.1:0' });
      try {
        const place = places.rest ?? '';
        const [honest] = await get(place, {});
        if (honest !== 200) throw new TypeError(`the agent answered its own machine with ${honest}`);
        const [status, text] = await get(place, { host: 'page.attacker.example' });
        return status === 200
          ? { refusedBy: 'nobody', at: 'a secret of the guest’s', evidence: `${text.length} characters` }
          : { refusedBy: 'guest', at: `status ${status}`, evidence: `the agent answered ${text}` };
      } finally {
        await close();
      }
    },
  },
];
