--# portable
-- A level that cannot be kept is an error, never silently a weaker one.
SELECT nuda_write_consistency(), nuda_read_consistency();
SELECT nuda_write_consistency('eventual');
SELECT nuda_write_consistency('EVENTUAL');
SELECT nuda_write_consistency('strong');
SELECT nuda_write_consistency('quorum');
SELECT nuda_read_consistency('session');
SELECT nuda_read_consistency('bounded');
SELECT nuda_read_consistency('strong');
SELECT nuda_write_consistency('certainly');
SELECT nuda_write_consistency(), nuda_read_consistency();
