/** The configuration's file in a broker's folder. */
export const configurationFile = 'broker.toml';
