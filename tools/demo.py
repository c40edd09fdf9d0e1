from geoguide3d.cli.demo import main

raise SystemExit(main())
