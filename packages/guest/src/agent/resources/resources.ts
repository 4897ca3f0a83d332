import { parseKeyId } from '@vouchsafe/protocol';
import { type Secret, UnavailableError } from '@vouchsafe/sev';
import type { KeyBrokerClient } from '../../broker/broker-client.js';

/** Where an agent has its secrets from: what was injected at launch, or a key broker. */
export interface AgentResources {
  /**
   * A secret by the name under which an image or a container asks for it, usually `kbs:///repository/type/tag`; a copy, for
   * the caller to zero. Undefined when it is not here.
   * @throws whatever the source does when it refuses
   */
  find(name: string): Promise<Secret | undefined>;
}

/** What a key broker releases: one session, renewed. It decides and records, so whatever it says comes through. */
export function brokerResources(broker: Pick<KeyBrokerClient, 'getResource'>): AgentResources {
  return { find: async (name) => broker.getResource(parseKeyId(name)) };
}

/** Asks one source after the other. */
export function resourcesFrom(sources: readonly AgentResources[]): AgentResources {
  return {
    async find(name) {
      for (const source of sources) {
        const found = await source.find(name);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

/** @throws UnavailableError when no source has it */
export async function requireResource(resources: AgentResources, name: string): Promise<Secret> {
  const found = await resources.find(name);
  if (found !== undefined) return found;
  throw new SecretAbsentError(name);
}

/** This guest has no such secret, and nobody to ask for it. */
export class SecretAbsentError extends UnavailableError {
  constructor(name: string) {
    super('secret', `this guest has none of the name ${JSON.stringify(name.slice(0, 200))}`, {
      hint: 'it has to be injected at launch, or the agent needs a key broker to ask',
    });
  }
}
