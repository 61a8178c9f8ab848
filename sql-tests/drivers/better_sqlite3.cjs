// Runs statements through better-sqlite3: one JSON request and answer per line.
const Database = require(process.argv[2]);
const readline = require('node:readline');

function text(value) {
  if (value === null) return 'NULL';
  if (Buffer.isBuffer(value)) return value.toString('utf8');
  if (typeof value === 'number' && Number.isInteger(value)) return value.toFixed(1);
  return String(value);
}

if (process.argv.includes('--version')) {
  console.log(new Database(':memory:').prepare('select sqlite_version()').pluck().get());
  process.exit(0);
}

let db = null;
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const request = JSON.parse(line);
  const answer = { rows: [], error: null };
  try {
    if (db === null) {
      db = new Database(request.file, { readonly: request.read_only });
      if (request.extension) db.loadExtension(request.extension);
    } else {
      const statement = db.prepare(request.sql);
      if (statement.reader) {
        for (const row of statement.raw().safeIntegers().iterate()) {
          answer.rows.push(row.map(text).join('|'));
        }
      } else {
        statement.run();
      }
    }
  } catch (error) {
    answer.error = error.message;
  }
  process.stdout.write(JSON.stringify(answer) + '\n');
}).on('close', () => { if (db !== null) db.close(); });
