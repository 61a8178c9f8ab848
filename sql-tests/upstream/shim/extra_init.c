/* Called at the end of sqlite3_initialize() (SQLITE_EXTRA_INIT). NUDA_UPSTREAM in the environment says
** what the test program runs on: "off" the plain VFS, "vfs" the VFS nuda, "hooks" the same with hooks
** attached to every connection and the read barrier armed. */
#include <stdlib.h>
#include <string.h>

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_vfs sqlite3_vfs;
int sqlite3_auto_extension(void (*)(void));
void sqlite3_reset_auto_extension(void);
int sqlite3_open(const char *, sqlite3 **);
int sqlite3_close(sqlite3 *);
sqlite3_vfs *sqlite3_vfs_find(const char *);
int sqlite3_vfs_register(sqlite3_vfs *, int);
int nuda_upstream_entry(sqlite3 *, char **, const void *);
int nuda_upstream_register(void);

static void (*const entry)(void) = (void (*)(void))nuda_upstream_entry;

/* The API is learned from an auto-extension, once. Tests count allocations and inject failures of them
** while SQLite initialises, so nothing of it may remain. */
static int first_time(void){
  sqlite3 *db = 0;
  int rc = sqlite3_auto_extension(entry);
  if( rc==0 ) rc = sqlite3_open(":memory:", &db);
  sqlite3_close(db);
  sqlite3_reset_auto_extension();
  return rc ? rc : nuda_upstream_register();
}

int nuda_extra_init(const char *unused){
  static int done = 0;
  const char *mode = getenv("NUDA_UPSTREAM");
  int rc = 0;
  (void)unused;
  if( mode==0 || strcmp(mode, "off")==0 ) return 0;
  if( !done ){
    rc = first_time();
    if( rc ) return rc;
    done = 1;
  }
  /* The tests shut SQLite down and initialise it again, which makes "unix" the default anew and
  ** forgets auto-extensions. */
  rc = sqlite3_vfs_register(sqlite3_vfs_find("nuda"), 1);
  if( rc==0 && strcmp(mode, "hooks")==0 ) rc = sqlite3_auto_extension(entry);
  return rc;
}
