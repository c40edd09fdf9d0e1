from geoguide3d.cli.query import main

raise SystemExit(main())
