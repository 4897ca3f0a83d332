import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AgentPlaces,
  agentPaths,
  createAgent,
  fetchCredentials,
  type ImagePolicyPlace,
  imagePolicyGate,
  imagePolicySource,
  layoutPuller,
  restFeatures,
} from '@vouchsafe/guest';
import { command, type Result } from '../../frame/command.js';
import { choice, flag, grouped, number, path, repeated, text, withDefault } from '../../frame/options.js';
import { untilStopped } from '../stay.js';
import { agentSourceOptions } from './options.js';
import { type AgentInputs, type AgentSources, openAgentSources } from './sources.js';

const none = 'none';
const place = (flags: string, help: string, usual: string) =>
  withDefault(text(flags, `${help}: 127.0.0.1:PORT, unix:PATH or ${none}`), usual);

export const serve = command({
  description:
    'Inside a guest: serves containers, their tools and a Kata agent. Opens the layer keys of encrypted images (ocicrypt ' +
    'key provider), fetches secrets, unseals sealed ones, gives evidence and tokens, and enforces an image policy, as ' +
    'Confidential Containers’ attestation-agent, confidential-data-hub and api-server-rest do. Keys come from the secrets ' +
    'that were injected at launch, and from the owner’s key broker. Callers are processes of this guest, of root or of ' +
    'the users that are named.',
  arguments: {},
  options: {
    ...agentSourceOptions,
    ...grouped('What is enforced', {
      imagePolicy: text('--image-policy <place>', 'kbs:///REPOSITORY/TYPE/TAG, or a file of this guest'),
      sealedKeys: path(
        '--sealed-secret-keys <dir>',
        'public keys of sealed secrets that are not with the broker',
      ),
    }),
    ...grouped('Where it is reached', {
      run: withDefault(path('--run <dir>', 'folder of the ttrpc sockets'), '/run/confidential-containers'),
      grpc: place('--grpc <address>', 'secrets, images and key provider over gRPC', agentPaths.dataHubGrpc),
      attestationGrpc: place(
        '--attestation-grpc <address>',
        'attestation over gRPC',
        agentPaths.attestationGrpc,
      ),
      rest: withDefault(
        text('--rest <address>', `HTTP for containers: 127.0.0.1:PORT or ${none}`),
        agentPaths.rest,
      ),
      features: choice('--rest-features <what>', 'what HTTP offers (default: resource)', restFeatures),
      allowUser: repeated(
        number('--allow-user <uid>', 'a user that may call besides root', { most: 0xffff_fffe }),
      ),
      allowAnyUser: flag('--allow-any-user', 'let every process of this guest call over loopback'),
    }),
  },
  examples: [
    {
      line: 'agent serve --broker https://broker.example --ca ca.pem --image-policy kbs:///default/security-policy/test',
      explains: 'in a SEV-SNP guest, until Ctrl-C',
    },
    { line: 'agent serve', explains: 'in a SEV or SEV-ES guest, with the keys that were injected' },
  ],
  async run(input, context): Promise<Result> {
    const sources = await openAgentSources(input, context);
    const { served, files } = await start(input, sources).catch(async (error: unknown) => {
      await sources.close();
      throw error;
    });
    const { places } = served;
    const { from } = sources;
    return {
      exit: 0,
      json: { places, keysFrom: from, tee: sources.device === undefined ? 'sev' : 'snp', credentials: files },
      render(screen) {
        screen.line(
          `Keys come from ${from.length === 0 ? 'nowhere: nothing was injected, no broker is named' : from.join(', then ')}`,
        );
        screen.facts(Object.entries(places).map(([name, where]) => [names[name] ?? name, String(where)]));
      },
      stay: (stop) =>
        untilStopped(stop, async () => {
          await served.close();
          await sources.close();
        }),
    };
  },
});

const names: Readonly<Record<string, string>> = {
  attestationSocket: 'attestation, ttrpc',
  dataHubSocket: 'secrets and key provider, ttrpc',
  attestationGrpc: 'attestation, gRPC',
  dataHubGrpc: 'secrets and key provider, gRPC',
  rest: 'HTTP',
  restFeatures: 'HTTP offers',
};

interface ServeInputs extends AgentInputs {
  readonly imagePolicy: string | undefined;
  readonly sealedKeys: string | undefined;
  readonly run: string;
  readonly grpc: string;
  readonly attestationGrpc: string;
  readonly rest: string;
  readonly features: AgentPlaces['restFeatures'] | undefined;
  readonly allowUser: readonly number[];
  readonly allowAnyUser: boolean;
}

async function start(input: ServeInputs, sources: AgentSources) {
  const { resources, broker, device, settings, dataHub, kernel } = sources;
  const files = await fetchCredentials(dataHub.credentials ?? [], resources);
  const { coco_as: attestationService } = settings.token_configs ?? {};
  const agent = createAgent({
    device,
    broker,
    resources,
    eventLog: settings.eventlog_config?.enable_eventlog ?? false,
    otherAttestationService: attestationService !== undefined,
    puller: layoutPuller,
    imagePolicy: imagePolicyGate(imagePolicySource(policyPlace(input, sources), resources)),
    ...(input.sealedKeys === undefined ? {} : { sealedSecretKeys: input.sealedKeys }),
    version: ownVersion(),
    rules: { users: input.allowAnyUser ? 'any' : input.allowUser },
  });
  const wanted = {
    attestationSocket: join(input.run, 'attestation-agent/attestation-agent.sock'),
    dataHubSocket: join(input.run, 'cdh.sock'),
    attestationGrpc: input.attestationGrpc,
    dataHubGrpc: input.grpc,
    rest: input.rest,
  };
  const served = await agent.serve({
    ...Object.fromEntries(Object.entries(wanted).filter(([, where]) => where !== none)),
    restFeatures: input.features ?? kernel.restFeatures ?? 'resource',
  });
  return { served, files };
}

/** The option before the settings, and those before the kernel's parameters. */
function policyPlace(
  { imagePolicy }: ServeInputs,
  { dataHub: { image }, kernel }: AgentSources,
): ImagePolicyPlace | undefined {
  if (imagePolicy !== undefined) return { place: imagePolicy };
  if (image?.image_security_policy !== undefined) return { text: image.image_security_policy };
  const named = image?.image_security_policy_uri ?? kernel.imagePolicy;
  return named === undefined ? undefined : { place: named };
}

function ownVersion(): string {
  const manifest = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}
