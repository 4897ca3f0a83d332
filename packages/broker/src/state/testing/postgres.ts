export {
  type PostgresCluster,
  postgresPrograms,
  startPostgres,
} from '../../../../../tools/src/postgres/cluster.js';
